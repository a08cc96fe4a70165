from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import (
    Q,
)
from django.utils import timezone

from alerting.silences import Covering, Times, Weekly
from monitors.models import Label, Monitor

from .rule import AlertRule

# The numbers of a rule and a monitor; of an alert that outlived them, None.
Pair = TypeVar("Pair", bound=tuple[int | None, int | None])


class SilenceQuerySet(models.QuerySet["Silence"]):
    def lasting(self, at: datetime) -> "SilenceQuerySet":
        """Those that are not over, whether or not they have begun."""
        not_over = Q(ends_at=None) | Q(ends_at__gt=at)
        return self.filter(not_over, Q(ended_at=None) | Q(ended_at__gt=at))

    def current(self, at: datetime) -> "SilenceQuerySet":
        """Those in force: they cover the moment, or do so again each week."""
        return self.lasting(at).filter(starts_at__lte=at)

    def of_monitor(self, monitor: Monitor) -> "SilenceQuerySet":
        """Those that silence some rule on a monitor, by itself or by a label."""
        anywhere = Q(monitors=None, labels=None)
        here = Q(monitors=monitor) | Q(labels__in=monitor.labels.values("pk"))
        found = Silence.objects.filter(Q(silences_all=True) | anywhere | here)
        return self.filter(pk__in=found.values("pk"))

    def of_rule(self, rule: AlertRule) -> "SilenceQuerySet":
        """Those that silence a rule somewhere."""
        found = Silence.objects.filter(
            Q(silences_all=True) | Q(rules=None) | Q(rules=rule)
        )
        return self.filter(pk__in=found.values("pk"))


class Silence(models.Model):
    """A time in which alerts are noted and nobody is told of them.

    It is for every alert, or for some monitors or labels, or for some rules; with
    both, for these rules on these monitors. None is deleted: it is ended.
    """

    NO_TARGETS: ClassVar = "Choose every alert, or at least one monitor, rule or label."

    reason = models.CharField(max_length=200, help_text="What others will read.")
    silences_all = models.BooleanField("every alert", default=False)
    monitors = models.ManyToManyField(Monitor, blank=True, related_name="silences")
    rules = models.ManyToManyField(AlertRule, blank=True, related_name="silences")
    labels = models.ManyToManyField(Label, blank=True, related_name="silences")
    starts_at = models.DateTimeField(default=timezone.now)
    ends_at = models.DateTimeField(
        null=True, blank=True, help_text="Empty only for one that comes again."
    )
    # Weekly: on these days (0 is Monday), from a time until another, in a zone.
    weekdays = models.JSONField(default=list, blank=True)
    from_time = models.TimeField(null=True, blank=True)
    until_time = models.TimeField(null=True, blank=True)
    time_zone = models.CharField(max_length=64, default="UTC")
    author = models.CharField(max_length=150, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # Ended by hand before its time.
    ended_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = SilenceQuerySet.as_manager()

    class Meta:
        ordering = ["-starts_at", "-pk"]

    def __str__(self) -> str:
        return self.reason

    def clean(self) -> None:
        errors: dict[str, str] = {}
        if not _are_weekdays(self.weekdays):
            errors["weekdays"] = "Give days from 0, Monday, to 6, Sunday."
        elif self.is_weekly and (self.from_time is None or self.until_time is None):
            errors["from_time"] = "Give both times, from when until when."
        if not self.is_weekly and (self.from_time or self.until_time):
            errors["weekdays"] = "Choose the days on which these times hold."
        if not self.is_weekly and self.ends_at is None:
            errors["ends_at"] = "Give an end, or days on which it comes again."
        if self.ends_at and self.ends_at <= self.starts_at:
            errors["ends_at"] = "The end has to be after the beginning."
        if not _is_zone(self.time_zone):
            errors["time_zone"] = "There is no such zone; give one as Europe/Berlin."
        if errors:
            raise ValidationError(errors)

    # Mutations

    def end(self, *, at: datetime) -> bool:
        """End it before its time; twice changes nothing."""
        mine = Silence.objects.lasting(at).filter(pk=self.pk)
        if not mine.update(ended_at=at):
            return False
        self.ended_at = at
        return True

    # Queries and properties

    @property
    def is_weekly(self) -> bool:
        return bool(self.weekdays)

    @property
    def times(self) -> Times:
        weekly = None
        if self.weekdays and self.from_time and self.until_time:
            days = frozenset(self.weekdays)
            weekly = Weekly(days, self.from_time, self.until_time, self.time_zone)
        return Times(self.starts_at, self.ends_at, weekly, self.ended_at)

    def covers(self, at: datetime) -> bool:
        return self.times.covers(at)

    def is_over(self, at: datetime) -> bool:
        ends = [end for end in (self.ends_at, self.ended_at) if end]
        return any(end <= at for end in ends)

    @classmethod
    def covering(cls, at: datetime) -> "list[Covering]":
        """Return what silences at a moment as plain values, in four queries at most."""
        untils = {s: s.times.until(at) for s in cls.objects.current(at)}
        found = {s.pk: (s, until) for s, until in untils.items() if until}
        if not found:
            return []
        monitors, rules, labels = (
            _chosen(field.through, list(found))
            for field in (cls.monitors, cls.rules, cls.labels)
        )
        nobody: frozenset[int] = frozenset()
        return [
            Covering(
                id=pk,
                reason=silence.reason,
                silences_all=silence.silences_all,
                monitors=monitors.get(pk, nobody),
                rules=rules.get(pk, nobody),
                labels=labels.get(pk, nobody),
                until=until,
            )
            for pk, (silence, until) in found.items()
        ]

    @classmethod
    def over(cls, pairs: Iterable[Pair], at: datetime) -> "dict[Pair, Covering]":
        """Return what silences which pairs of a rule and a monitor at a moment."""
        coverings = cls.covering(at)
        if not coverings:
            return {}
        pairs = list(pairs)
        labels = _labels({monitor for _, monitor in pairs if monitor is not None})
        found = {}
        for pair in pairs:
            rule, monitor = pair
            borne = labels.get(monitor, set())
            first = next((c for c in coverings if c.covers(rule, monitor, borne)), None)
            if first:
                found[pair] = first
        return found


def _chosen(
    through: type[models.Model], silences: Sequence[int]
) -> dict[int, frozenset[int]]:
    """What each silence names, by its number: monitors, rules or labels."""
    [named] = [f.attname for f in through._meta.fields if f.name not in _NOT_NAMED]
    rows = through._default_manager.filter(silence__in=silences)
    chosen: dict[int, frozenset[int]] = {}
    for pk, other in rows.values_list("silence_id", named):
        chosen[pk] = chosen.get(pk, frozenset()) | {other}
    return chosen


def _labels(monitors: Collection[int]) -> dict[int | None, set[int]]:
    """The labels that monitors bear."""
    borne: dict[int | None, set[int]] = {}
    rows = Monitor.labels.through.objects.filter(monitor__in=sorted(monitors))
    for monitor, label in rows.values_list("monitor_id", "label_id"):
        borne.setdefault(monitor, set()).add(label)
    return borne


_NOT_NAMED: Final = ("id", "silence")


def _are_weekdays(days: Any) -> bool:
    is_list = isinstance(days, list)
    return is_list and all(type(day) is int and 0 <= day <= 6 for day in days)


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
