"""Gives the incidents there are the timeline that can still be known of them."""

from django.db import migrations


def carry_over(apps, schema_editor):
    def model(name):
        return apps.get_model("incidents", name).objects

    entries = model("TimelineEntry")
    incidents = model("Incident").order_by("pk").values_list("pk", flat=True)
    chunk = []
    for pk in incidents.iterator(chunk_size=500):
        chunk.append(pk)
        if len(chunk) == 500:
            entries.bulk_create(_entries(apps, chunk), batch_size=500)
            chunk = []
    entries.bulk_create(_entries(apps, chunk), batch_size=500)


def _entries(apps, pks):
    def rows(name, *related):
        found = apps.get_model("incidents", name).objects.select_related(*related)
        return found.filter(incident__in=pks).order_by("pk")

    Entry = apps.get_model("incidents", "TimelineEntry")

    def entry(pk, at, kind, text, actor="Tocsin", **facts):
        return Entry(
            incident_id=pk,
            happened_at=at,
            kind=kind,
            text=text[:500],
            actor=actor or "Tocsin",
            facts={**facts, "carried_over": True},
        )

    made = []
    for one in apps.get_model("incidents", "Incident").objects.filter(pk__in=pks):
        made.append(entry(one.pk, one.created_at, "OPENED", f"Opened: {one.title}"))
        by = one.decided_by
        if one.published_at and one.published_at != one.created_at:
            made.append(
                entry(one.pk, one.published_at, "PUBLISHED", "Became public", by)
            )
        if one.discarded_at:
            made.append(entry(one.pk, one.discarded_at, "DISCARDED", "Discarded", by))
        if one.deleted_at:
            made.append(entry(one.pk, one.deleted_at, "DELETED", "Deleted"))
    for link in rows("IncidentAlert", "alert"):
        alert, pk = link.alert, link.incident_id
        name = f"{alert.monitor_name} {alert.alert_for}: {alert.alert_value}"
        for at, word in (
            (alert.triggered_at, "triggered"),
            (alert.resolved_at, "resolved"),
        ):
            if at:
                text = f"Alert {word}: {name}"
                made.append(entry(pk, at, "ALERT", text, alert=alert.pk))
    for impact in rows("Impact", "monitor"):
        tag, name = impact.monitor.tag, impact.monitor.name
        text = f"{name}: {impact.get_level_display().lower()}"
        at, pk = impact.started_at, impact.incident_id
        made.append(
            entry(pk, at, "IMPACT", text, monitor=tag, level=impact.level)
        )
        if impact.ended_at:
            text = f"{name}: no longer affected"
            made.append(entry(pk, impact.ended_at, "IMPACT", text, monitor=tag))
    for update in rows("IncidentUpdate", "author"):
        by = update.author.username if update.author else ""
        text = f"{update.get_state_display()}: {update.body}"
        made.append(
            entry(
                update.incident_id,
                update.at,
                "UPDATE",
                text,
                by,
                update=update.pk,
                body=update.body,
            )
        )
    return made


class Migration(migrations.Migration):
    dependencies = [("incidents", "0006_told_and_kept")]

    operations = [migrations.RunPython(carry_over, migrations.RunPython.noop)]
