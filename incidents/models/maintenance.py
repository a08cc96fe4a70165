"""A planned window, once or by a rule: what it says, whom it affects, its dates."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q, UniqueConstraint
from django.utils import timezone

from incidents import markdown, titles
from incidents.recurrence import LONGEST, Recurrence, RecurrenceInvalid, parse
from monitors import zones
from monitors.models import Monitor

from .occurrence import OVER, PAST, WITHDRAWN, Levels, Occurrence, States, in_words

# Dates have their rows so far ahead, or for the next ten, whichever are more.
HORIZON: Final = timedelta(days=90)
AT_LEAST: Final = 10
# So often the rows are made anew as far as that.
PLANNED_EVERY: Final = timedelta(days=1)
# So long ago may have begun what is only planned now; it lies over what was measured.
MOST_BEGUN: Final = timedelta(days=1)
# Of more dates that are called off people read the number.
MOST_NAMED: Final = 3
MOST_MINUTES: Final = LONGEST // timedelta(minutes=1)
MOST_REMINDERS: Final = 50
# What decides when it happens; a change of anything else leaves the dates alone.
TIMES: Final = (
    *("starts_at", "ends_at", "rrule", "time_zone", "local_start"),
    *("duration_minutes", "wall_clock", "exdates"),
)
_FIELDS: Final = {"duration": "duration_minutes"}

Window = tuple[str, datetime, datetime]


class Change(NamedTuple):
    """What becomes of dates: those that are new or have moved, and those that go."""

    changed: list[Occurrence]
    dropped: list[Occurrence]


def usual_reminders() -> list[int]:
    return [1440, 60]


class MaintenanceQuerySet(models.QuerySet["Maintenance"]):
    def current(self) -> "MaintenanceQuerySet":
        return self.filter(retired_at=None)

    def due(self, at: datetime) -> "MaintenanceQuerySet":
        """Those whose dates need rows further ahead."""
        return self.current().filter(plan_at__lte=at)


class Maintenance(models.Model):
    """What is planned. Each of its dates is an Occurrence, made some time ahead."""

    title = models.CharField(max_length=255)
    description = models.TextField(
        max_length=20_000, help_text="What people should know; Markdown."
    )
    html = models.TextField(editable=False)
    starts_at = models.DateTimeField("starts")
    ends_at = models.DateTimeField("ends", null=True, blank=True)
    rrule = models.CharField(
        "rule",
        max_length=500,
        blank=True,
        help_text="As RFC 5545 writes it, such as FREQ=WEEKLY;BYDAY=TU; empty if it "
        "happens once.",
    )
    time_zone = models.CharField(
        max_length=60,
        default="UTC",
        help_text="Where the time of day is read, such as Europe/Berlin.",
    )
    # What the clock of the zone shows at the first start, also where it never
    # shows it: 02:30 on the day on which that is left out.
    local_start = models.CharField(max_length=19, blank=True, editable=False)
    duration_minutes = models.PositiveIntegerField(
        "lasts",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_MINUTES)],
        help_text="Minutes, if it recurs.",
    )
    wall_clock = models.BooleanField(
        "lasts by the clock",
        default=False,
        help_text="It ends when the clock shows so much more, also in a night in "
        "which the clock changes.",
    )
    # Local dates, or dates with a time, on which it does not happen; as ISO texts.
    exdates = models.JSONField("except on", default=list, blank=True)
    reminders = models.JSONField(
        default=usual_reminders,
        blank=True,
        help_text="Minutes before the start; none if empty.",
    )
    sends_reminders = models.BooleanField("Send Maintenance Reminders", default=True)
    verify_before_completion = models.BooleanField(
        "verify before completion",
        default=False,
        help_text="After the end it is verified first, and alerts are still held.",
    )
    verify_minutes = models.PositiveIntegerField(
        "verify for",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_MINUTES)],
        help_text="Minutes; empty waits for a person.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    retired_at = models.DateTimeField(null=True, blank=True, editable=False)
    # When more dates get their rows; never for what happens once.
    plan_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = MaintenanceQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [
            models.Index(
                fields=["plan_at"],
                condition=Q(retired_at=None),
                name="maintenances_to_plan",
            )
        ]

    def __str__(self) -> str:
        return self.title

    # Judging what is given

    def clean(self) -> None:
        self.title = titles.one_line(self.title)
        try:
            titles.check(self.title)
        except ValidationError as error:
            raise ValidationError({"title": error.messages}) from error
        self._clean_zone()
        self._clean_reminders()
        if self.rrule.strip():
            self._clean_rule()
        else:
            self._clean_once()

    def _clean_zone(self) -> None:
        if self.time_zone not in zones.names():
            raise ValidationError(
                {"time_zone": "Give a zone by its name, such as Europe/Berlin."}
            )

    def _clean_once(self) -> None:
        if self.duration_minutes is not None:
            raise ValidationError(
                {"duration_minutes": "What happens once is given its end instead."}
            )
        if self.ends_at is None:
            raise ValidationError({"ends_at": "Say when it ends."})
        if self.exdates:
            raise ValidationError({"exdates": "What happens once leaves none out."})
        if self.starts_at and not (
            timedelta(0) < self.ends_at - self.starts_at <= LONGEST
        ):
            raise ValidationError(
                {"ends_at": f"It ends after its start, within {LONGEST.days} days."}
            )
        for name in ("starts_at", "ends_at"):
            at = getattr(self, name)
            if at and not 1970 <= at.year < 2100:
                raise ValidationError({name: "It must lie in the years 1970 to 2099."})

    def _clean_rule(self) -> None:
        if self.ends_at is not None:
            raise ValidationError(
                {"ends_at": "What recurs is given how many minutes it lasts instead."}
            )
        if self.duration_minutes is None:
            raise ValidationError({"duration_minutes": "Say how many minutes."})
        try:
            if self.starts_at:
                self.recurrence()
        except RecurrenceInvalid as error:
            field = _FIELDS.get(error.field, error.field)
            raise ValidationError({field: str(error)}) from error

    def _clean_reminders(self) -> None:
        fit = isinstance(self.reminders, list) and all(
            type(n) is int and 1 <= n <= MOST_MINUTES for n in self.reminders
        )
        if not fit or len(self.reminders) > MOST_REMINDERS:
            raise ValidationError(
                {
                    "reminders": f"Give up to {MOST_REMINDERS} whole numbers of "
                    f"minutes from 1 to {MOST_MINUTES}."
                }
            )

    @property
    def plain(self) -> str:
        """The words of the description alone."""
        return markdown.plain(self.html)

    # When it happens

    @property
    def recurs(self) -> bool:
        return bool(self.rrule)

    @property
    def zone(self) -> ZoneInfo:
        """Where the time of day is read; UTC if there is no such zone any more."""
        return zones.find(self.time_zone)

    @property
    def first_start(self) -> datetime:
        """The first start on the clock of the zone, also where it never shows it."""
        at = self.starts_at.astimezone(self.zone)
        if not self.local_start:
            return at
        local = datetime.fromisoformat(self.local_start)
        # Of two 02:30 the moment tells which; a change of the zone keeps the time.
        if local == at.replace(tzinfo=None, microsecond=0):
            return at
        return local.replace(tzinfo=self.zone)

    def recurrence(self) -> Recurrence:
        """Raise RecurrenceInvalid if there are no dates in it."""
        return parse(
            self.rrule,
            self.first_start,
            self.zone.key,
            timedelta(minutes=self.duration_minutes or 0),
            [_left_out(text) for text in self.exdates],
            wall_clock=self.wall_clock,
        )

    def describe(self) -> str:
        """Say when it happens; nothing if it happens once."""
        try:
            return self.recurrence().describe() if self.recurs else ""
        except RecurrenceInvalid:
            return self.rrule

    @property
    def warnings(self) -> list[str]:
        """Return what is allowed and may still not be meant."""
        try:
            return self.recurrence().warnings if self.recurs else []
        except RecurrenceInvalid:
            return []

    def next_dates(
        self, count: int = 10, after: datetime | None = None
    ) -> list[tuple[datetime, datetime]]:
        """Return the next starts and ends by the rule, in UTC."""
        after = after or timezone.now()
        if not self.recurs:
            return [(self.starts_at, self._end)] if self.starts_at > after else []
        found = self.recurrence().after(after, count)
        return [(one.starts_at, one.ends_at) for one in found]

    @property
    def _end(self) -> datetime:
        return self.ends_at or self.starts_at

    def _windows(self, at: datetime) -> list[Window]:
        """Return what is to have rows: those that are not over, up to the horizon."""
        if not self.recurs:
            local = self.starts_at.astimezone(self.zone)
            return [(_key(local), self.starts_at, self._end)]
        found = self.recurrence()
        longest = found.duration + timedelta(days=1)
        near = found.between(at - longest, at + HORIZON)
        dates = [one for one in near if one.ends_at > at]
        missing = AT_LEAST - sum(one.starts_at > at for one in dates)
        if missing > 0:
            dates += found.after(at + HORIZON - timedelta(microseconds=1), missing)
        return [(_key(one.local_start), one.starts_at, one.ends_at) for one in dates]

    # Factories and transitions

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.rrule and not kwargs.get("update_fields"):
            first = self.recurrence()
            self.starts_at, self.local_start = first.starts_at, _key(first.local_start)
        super().save(*args, **kwargs)

    def schedule(
        self, *, at: datetime, impacts: Mapping[Monitor, str] | None = None
    ) -> "Maintenance":
        """Save a new one with its first dates, and tell of the first."""
        self.title = titles.one_line(self.title)
        self.html = markdown.render(self.description)
        self.rrule = self.rrule.strip()
        earliest = at - MOST_BEGUN
        if not self.recurs and self.starts_at < earliest and self._end > at:
            raise ValidationError({"starts_at": "It began more than a day ago."})
        with transaction.atomic():
            self.save()
            MaintenanceImpact.objects.bulk_create(
                MaintenanceImpact(maintenance=self, monitor=monitor, level=level)
                for monitor, level in (impacts or {}).items()
            )
            self._plan(at, since=earliest)
            first = self.occurrences.order_by("starts_at").first()
            if first is None:
                raise self._over()
            first.announce()
        return self

    def revise(
        self,
        *,
        at: datetime,
        impacts: Mapping[Monitor, str] | None = None,
        author: User | None = None,
        **facts: Any,
    ) -> None:
        """Change what is planned; `impacts` are all there are.

        Dates that nobody has touched and that have not begun follow the new
        times. Those that have begun, or that a person has changed, stay. Raises
        ValidationError if it cannot happen then, or was taken back meanwhile.
        """
        html = markdown.render(facts.get("description", self.description))
        with transaction.atomic():
            self._lock()
            if self.retired_at:
                raise ValidationError("It was taken back meanwhile.")
            before, reminders = self._times(), self.reminders
            held = {one.pk: one.held for one in self._laid()}
            self._take({**facts, "html": html})
            self.save()
            self._hold_anew(held)
            if impacts is not None:
                self._affect(impacts, at)
            if before != self._times():
                self._move(at, author)
            if reminders != self.reminders:
                Occurrence.plan_reminders(self._scheduled(), at)
            self._tell(at)

    @transaction.atomic
    def plan_further(self, *, at: datetime) -> bool:
        """Make the rows of further dates, once a day.

        After a time in which nobody planned, what is under way is among them.
        Without its zone nothing is: what is planned already keeps its times.
        """
        planned_at, due = self.plan_at, Maintenance.objects.due(at).filter(pk=self.pk)
        same = due.filter(plan_at=planned_at)
        if planned_at is None or not same.update(plan_at=at + PLANNED_EVERY):
            return False
        self._lock()
        if self.zone.key != self.time_zone:
            return False
        self._plan(at, since=planned_at - PLANNED_EVERY)
        return True

    @transaction.atomic
    def retire(self, *, at: datetime, author: User | None = None) -> bool:
        """Take it out of service; what is planned or under way is cancelled.

        People hear of what is under way and of the next date, not of each.
        """
        current = Maintenance.objects.current().filter(pk=self.pk)
        if not current.update(retired_at=at):
            return False
        self.refresh_from_db()
        is_next = True
        for one in self.occurrences.open().order_by("starts_at"):
            is_told = is_next or one.state != States.SCHEDULED
            is_next = is_next and one.state != States.SCHEDULED
            reason = "The maintenance was taken back."
            one.cancel(at=at, reason=reason, author=author, is_told=is_told)
        return True

    # What the transitions are made of

    def _lock(self) -> None:
        """Make changes of one maintenance wait for each other, and read it anew."""
        self.refresh_from_db(
            from_queryset=Maintenance.objects.select_for_update(no_key=True)
        )

    def _times(self) -> list[Any]:
        """What decides when it happens; once is once in any zone."""
        names = TIMES if self.recurs else ("rrule", "starts_at", "ends_at")
        return [getattr(self, name) for name in names]

    def _take(self, facts: Mapping[str, Any]) -> None:
        for name, value in facts.items():
            setattr(self, name, value)
        self.title = titles.one_line(self.title)
        self.rrule = self.rrule.strip()

    def _over(self) -> ValidationError:
        return ValidationError({"rrule" if self.recurs else "ends_at": OVER})

    def _laid(self) -> Iterable[Occurrence]:
        return self._own(self.occurrences.open().filter(is_laid=True))

    def _scheduled(self) -> list[Occurrence]:
        return self._own(self.occurrences.filter(state=States.SCHEDULED))

    def _own(self, found: Iterable[Occurrence]) -> list[Occurrence]:
        """Give each the maintenance as it is here."""
        rows = list(found)
        for one in rows:
            one.maintenance = self
        return rows

    def _hold_anew(self, held: Mapping[int, tuple[datetime, datetime | None]]) -> None:
        """Whether it is verified decides how long alerts are held."""
        for one in self._laid():
            one.hold_anew(held[one.pk])

    def _affect(self, impacts: Mapping[Monitor, str], at: datetime) -> None:
        before = {impact.monitor: impact.level for impact in self.impacts.all()}
        self.impacts.exclude(monitor__in=list(impacts)).delete()
        for monitor, level in impacts.items():
            self.impacts.update_or_create(monitor=monitor, defaults={"level": level})
        for one in self._laid():
            one.affect(before, impacts, at)

    def _move(self, at: datetime, author: User | None) -> None:
        """Have the dates follow the new times, and tell of it once, at the next one.

        Whoever heard of a date that goes reads there that it is called off.
        """
        # What would be under way by the new times begins with its next date.
        changed, dropped = self._plan(at, since=at, author=author)
        following = self._following(at)
        if following is None:
            raise self._over()
        if changed or dropped:
            often = self.describe()
            said = ["The dates have changed.", often and f"{often}.", _off(dropped)]
            following.note(" ".join(filter(None, said)), at=at, author=author)

    def _following(self, at: datetime) -> Occurrence | None:
        """The next date; what is under way if there is none."""
        rows = self.occurrences.open().order_by("starts_at")
        ahead = rows.filter(state=States.SCHEDULED, starts_at__gt=at)
        found = self._own([*ahead[:1]] or [*rows[:1]])
        return found[0] if found else None

    def _plan(
        self, at: datetime, *, since: datetime, author: User | None = None
    ) -> Change:
        """Give each date that begins later than `since` its row."""
        self.plan_at = at + PLANNED_EVERY if self.recurs else None
        self.save(update_fields=["plan_at"])
        if not self.recurs:
            return self._plan_once(at, since, author)
        windows = [window for window in self._windows(at) if window[1] > since]
        return self._plan_dates(windows, at, author)

    def _plan_once(self, at: datetime, since: datetime, author: User | None) -> Change:
        [window] = self._windows(at)
        rows = self._own(self.occurrences.open().order_by("starts_at"))
        free = [row for row in rows if row.is_free(at)]
        same = [row for row in free if row.original[:10] == window[0][:10]]
        kept = rows if len(rows) == 1 else same
        dropped = [row for row in free if row not in kept]
        Occurrence.withdraw(dropped, at=at, author=author)
        if not kept:
            return Change(self._add_once(window, at, since), dropped)
        moved = [row for row in kept if row.follow_times(*window, at=at)]
        return Change(moved, dropped)

    def _add_once(
        self, window: Window, at: datetime, since: datetime
    ) -> list[Occurrence]:
        original, starts_at, ends_at = window
        if ends_at <= at:
            raise self._over()
        if starts_at < since.replace(second=0, microsecond=0):
            raise ValidationError({"starts_at": PAST})
        if self.occurrences.exclude(WITHDRAWN).filter(original=original).exists():
            raise ValidationError(
                {"starts_at": "It has been planned for this start before."}
            )
        return self._add([window], at)

    def _plan_dates(
        self, windows: list[Window], at: datetime, author: User | None
    ) -> Change:
        """Match by the day, which a rule names once, so that nothing happens twice."""
        rows = self._own(self.occurrences.planned_since(windows))
        taken = {row.original[:10] for row in rows if not row.is_free(at)}
        wanted = [window for window in windows if window[0][:10] not in taken]
        days = {original[:10] for original, _, _ in wanted}
        free = self._by_day([row for row in rows if row.is_free(at)], days)
        dropped = [row for day, row in free.items() if day not in days]
        Occurrence.withdraw(dropped, at=at, author=author)
        moved = [
            free[window[0][:10]]
            for window in wanted
            if window[0][:10] in free
            and free[window[0][:10]].follow_times(*window, at=at)
        ]
        added = self._add([w for w in wanted if w[0][:10] not in free], at)
        return Change([*moved, *added], dropped)

    def _by_day(self, rows: list[Occurrence], days: set[str]) -> dict[str, Occurrence]:
        """What happened once may have been moved: then it goes by where it is now."""
        named = {row.original[:10]: row for row in rows}
        for day in [day for day in named if day not in days]:
            local = _key(named[day].starts_at.astimezone(self.zone))[:10]
            if local in days - named.keys():
                named[local] = named.pop(day)
        return named

    def _add(self, windows: Iterable[Window], at: datetime) -> list[Occurrence]:
        rows = [
            Occurrence(
                maintenance=self,
                original=original,
                starts_at=starts_at,
                ends_at=ends_at,
                due_at=starts_at,
                created_at=at,
                changed_at=at,
            )
            for original, starts_at, ends_at in windows
        ]
        Occurrence.objects.bulk_create(rows)
        Occurrence.plan_reminders(rows, at)
        for row in rows:
            if row.is_near(at):
                row.lay()
        return rows

    def _tell(self, at: datetime) -> None:
        """Pages show its title, words and monitors: have them built anew."""
        shown = self.occurrences.open().order_by("starts_at").first()
        if shown:
            shown.show()


class MaintenanceImpact(models.Model):
    """What a maintenance does to a monitor while it goes on."""

    Level = Levels

    maintenance = models.ForeignKey(Maintenance, models.CASCADE, related_name="impacts")
    monitor = models.ForeignKey(
        Monitor, models.CASCADE, related_name="maintenance_impacts"
    )
    level = models.CharField(
        max_length=11, choices=Level.choices, default=Level.MAINTENANCE
    )

    class Meta:
        ordering = ["pk"]
        constraints = [
            UniqueConstraint(
                fields=["maintenance", "monitor"],
                name="one_impact_per_maintenance_and_monitor",
            )
        ]

    def __str__(self) -> str:
        return f"{self.monitor} {self.get_level_display()}"


def _key(local: datetime) -> str:
    """The local start, which tells the dates of a maintenance apart."""
    return local.replace(tzinfo=None, microsecond=0).isoformat()


def _off(dropped: Iterable[Occurrence]) -> str:
    """Name the dates that go and of which people have heard."""
    told = sorted(row.starts_at for row in dropped if row.is_told)
    if not told:
        return ""
    named = ", ".join(in_words(at) for at in told[:MOST_NAMED])
    more = len(told) - MOST_NAMED
    return f"Called off: {named}{f' and {more} more' if more > 0 else ''}."


def _left_out(text: Any) -> date:
    """Return a date, a local start, or a moment; raise RecurrenceInvalid."""
    try:
        if len(text) == 10:
            return date.fromisoformat(text)
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at
    except (TypeError, ValueError, OverflowError):
        raise RecurrenceInvalid(
            "Write dates to leave out as 2026-12-25 or 2026-12-25T02:00.", "exdates"
        ) from None
