"""Brings results, positions and sums into the shape that 0002 has made."""

from itertools import groupby
from operator import attrgetter

from django.db import migrations


def carry_results(apps, schema_editor):
    Old = apps.get_model("monitors", "OldCheckResult")
    New = apps.get_model("monitors", "CheckResult")
    State = apps.get_model("monitors", "MonitorState")
    evaluated = dict(State.objects.values_list("pk", "evaluated_through"))
    for pk, rows in groupby(
        Old.objects.order_by("monitor", "pk").iterator(), attrgetter("monitor_id")
    ):
        position = through = 0
        seen, some = set(), []
        for row in rows:
            at = row.checked_at.replace(microsecond=row.checked_at.microsecond // 1000 * 1000)
            if at in seen:
                continue
            seen.add(at)
            position += 1
            through = position if row.pk <= evaluated.get(pk, 0) else through
            some.append(New(
                monitor_id=pk, checked_at=at, status=row.status, position=position,
                latency_ms=row.latency_ms, error=row.error,
            ))
        New.objects.bulk_create(some, batch_size=2000)
        State.objects.filter(pk=pk).update(
            last_result=position, evaluated_through=through
        )


def sum_periods(apps, schema_editor):
    Period = apps.get_model("monitors", "StatusPeriod")
    names = ("up", "degraded", "partial", "down", "maintenance", "no_data")
    sums, monitor = {}, None
    changed = []
    for period in Period.objects.order_by("monitor", "started_at", "pk"):
        if period.monitor_id != monitor:
            monitor, sums = period.monitor_id, dict.fromkeys(names, 0)
        for name in names:
            setattr(period, f"before_{name}", sums[name])
        if period.ended_at:
            lasted = period.ended_at - period.started_at
            sums[period.status] += round(lasted.total_seconds() * 1000)
        changed.append(period)
    Period.objects.bulk_update(
        changed, [f"before_{name}" for name in names], batch_size=500
    )


def copy_status(apps, schema_editor):
    State = apps.get_model("monitors", "MonitorState")
    for status in State.objects.values_list("status", flat=True).distinct():
        State.objects.filter(status=status).update(raw_status=status)


class Migration(migrations.Migration):

    dependencies = [
        ('monitors', '0002_history'),
    ]

    operations = [
        migrations.RunPython(carry_results, migrations.RunPython.noop),
        migrations.RunPython(sum_periods, migrations.RunPython.noop),
        migrations.RunPython(copy_status, migrations.RunPython.noop),
    ]
