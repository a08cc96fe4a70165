"""One date of a maintenance: its states, its times, what it lays over monitors."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q, UniqueConstraint
from django.utils import timezone

from incidents import markdown, titles
from incidents.signals import (
    maintenance_cancelled,
    maintenance_changed,
    maintenance_completed,
    maintenance_reminded,
    maintenance_scheduled,
    maintenance_started,
)
from monitors.models import Monitor, Overlay

from .maintenance_settings import MaintenanceSettings

if TYPE_CHECKING:
    from .maintenance import MaintenanceImpact

# Overlays are laid so long before the start, with their planned times: what is
# checked between the start and the tick of the clock is held, too.
LAID_AHEAD: Final = timedelta(hours=1)
LONGEST: Final = timedelta(days=366)


class States(models.TextChoices):
    SCHEDULED = "SCHEDULED", "Scheduled"
    IN_PROGRESS = "IN_PROGRESS", "In progress"
    VERIFYING = "VERIFYING", "Verifying"
    COMPLETED = "COMPLETED", "Completed"
    CANCELLED = "CANCELLED", "Cancelled"


class Levels(models.TextChoices):
    MAINTENANCE = "MAINTENANCE", "Under maintenance"
    DEGRADED = "DEGRADED", "Degraded"
    PARTIAL = "PARTIAL", "Partial outage"
    DOWN = "DOWN", "Down"
    NONE = "NONE", "Named only"


FINAL: Final = (States.COMPLETED, States.CANCELLED)
UNDER_WAY: Final = (States.IN_PROGRESS, States.VERIFYING)
# What a transition may change.
_CHANGED: Final = (
    *("state", "starts_at", "ends_at", "started_at", "verifying_at", "ended_at"),
    *("due_at", "sequence", "is_touched", "is_laid", "reason", "original"),
    *("changed_at", "kept_title", "kept_html"),
)
# Cancelled because its maintenance has other dates now: it is in nobody's way.
WITHDRAWN: Final = Q(state=States.CANCELLED, is_touched=False)
OVER: Final = "It would be over already."
PAST: Final = "Its start has passed; start it now instead."
_DATES_CHANGED: Final = "The dates have changed."


class OccurrenceQuerySet(models.QuerySet["Occurrence"]):
    def open(self) -> "OccurrenceQuerySet":
        return self.exclude(state__in=FINAL)

    def due(self, at: datetime) -> "OccurrenceQuerySet":
        """Those with which the clock has something to do by now."""
        return self.filter(due_at__lte=at)

    def to_lay(self, at: datetime) -> "OccurrenceQuerySet":
        """Those whose overlays are to be laid by now."""
        soon = at + LAID_AHEAD
        return self.filter(state=States.SCHEDULED, is_laid=False, starts_at__lte=soon)

    def under_way(self) -> "OccurrenceQuerySet":
        return self.filter(state__in=UNDER_WAY)

    def upcoming(self, until: datetime) -> "OccurrenceQuerySet":
        return self.filter(state=States.SCHEDULED, starts_at__lt=until)

    def touching(
        self, begin: datetime | None, end: datetime | None
    ) -> "OccurrenceQuerySet":
        """Those planned to go on at some moment from begin until end."""
        found = self.filter(ends_at__gt=begin) if begin else self
        return found.filter(starts_at__lt=end) if end else found

    def planned_since(
        self, windows: Iterable[tuple[str, Any, Any]]
    ) -> "OccurrenceQuerySet":
        """Those that are scheduled, or on a day of these windows or later."""
        first = min((original[:10] for original, _, _ in windows), default="9999")
        later = Q(state=States.SCHEDULED) | Q(original__gte=first)
        found = self.filter(later).exclude(WITHDRAWN)
        return found.select_for_update(no_key=True)


class Occurrence(models.Model):
    """A window: planned, moved by the clock or by a person, with updates of its own.

    `starts_at` and `ends_at` are what is planned, `started_at` and `ended_at` what
    has been. The clock looks at it again when it is `due_at`.
    """

    State = States

    maintenance = models.ForeignKey(
        "Maintenance", models.CASCADE, related_name="occurrences"
    )
    # The local start by the rule, whatever has become of it: 2026-03-29T02:30:00.
    original = models.CharField(max_length=19, editable=False)
    # What calendars know it by, and how often its time has changed.
    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    sequence = models.PositiveIntegerField(default=0, editable=False)
    state = models.CharField(
        max_length=11, choices=States.choices, default=States.SCHEDULED
    )
    starts_at = models.DateTimeField("starts")
    ends_at = models.DateTimeField("ends")
    started_at = models.DateTimeField(null=True, blank=True)
    verifying_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Changed by a person: a change of the maintenance leaves it alone.
    is_touched = models.BooleanField(default=False, editable=False)
    is_laid = models.BooleanField(default=False, editable=False)
    # People have heard of this date by itself: it does not go without a word.
    is_told = models.BooleanField(default=False, editable=False)
    # Why it was cancelled.
    reason = models.CharField(max_length=500, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)
    # What was said of it when it ended; what it affected is in its impacts.
    kept_title = models.CharField(max_length=255, blank=True, editable=False)
    kept_html = models.TextField(blank=True, editable=False)

    objects = OccurrenceQuerySet.as_manager()

    class Meta:
        ordering = ["starts_at", "pk"]
        constraints = [
            UniqueConstraint(
                fields=["maintenance", "original"],
                condition=~WITHDRAWN,
                name="one_occurrence_per_original_start",
            )
        ]
        indexes = [
            models.Index(
                fields=["due_at"],
                condition=~Q(due_at=None),
                name="occurrences_due",
            ),
            models.Index(fields=["state", "starts_at"], name="occurrences_by_state"),
        ]

    def __str__(self) -> str:
        return f"{self.title}, {self.starts_at:%Y-%m-%d %H:%M} UTC"

    # Transitions

    def start(
        self,
        *,
        at: datetime,
        author: User | None = None,
        body: str = "",
        due: datetime | None = None,
    ) -> bool:
        """Begin, before its time if need be; False if it is not scheduled.

        `due` is given by the clock, and the moment at which it takes the step.
        """
        return self._turn(
            [States.SCHEDULED],
            maintenance_started,
            body or "The maintenance has begun.",
            at=at,
            author=author,
            due=due,
            state=States.IN_PROGRESS,
            started_at=at,
            is_touched=due is None,
        )

    @transaction.atomic
    def extend(
        self,
        ends_at: datetime,
        *,
        at: datetime,
        author: User | None = None,
        body: str = "",
    ) -> bool:
        """Let it end later; what is being verified goes on. False if it is over.

        Raises ValidationError if that is not later.
        """
        # Locked before it is judged: of two who extend it the later end counts.
        self._lock()
        if not self.is_open:
            return False
        if ends_at <= max(self.ends_at, at):
            raise ValidationError({"ends_at": "Give a later end; this is none."})
        self._check(self.started_at or self.starts_at, ends_at)
        is_begun = self.state in UNDER_WAY
        return self._turn(
            [States(self.state)],
            maintenance_changed,
            body or f"It goes on until {in_words(ends_at)}.",
            at=at,
            author=author,
            state=States.IN_PROGRESS if is_begun else States.SCHEDULED,
            ends_at=ends_at,
            verifying_at=None,
            is_touched=True,
        )

    def move(
        self,
        starts_at: datetime,
        ends_at: datetime,
        *,
        at: datetime,
        author: User | None = None,
        body: str = "",
    ) -> bool:
        """Plan it for another time; False if it is not scheduled any more.

        Raises ValidationError if that time is over, or has begun.
        """
        self._check_ahead(starts_at, ends_at, at)
        said = f"Moved to {in_words(starts_at)}, until {in_words(ends_at)}."
        with transaction.atomic():
            if not self._turn(
                [States.SCHEDULED],
                maintenance_changed,
                body or said,
                at=at,
                author=author,
                starts_at=starts_at,
                ends_at=ends_at,
                is_touched=True,
            ):
                return False
            self.plan_reminders([self], at)
        return True

    def verify(
        self,
        *,
        at: datetime,
        author: User | None = None,
        body: str = "",
        due: datetime | None = None,
    ) -> bool:
        """The work is done, and whether it works is looked at; alerts stay held."""
        return self._turn(
            [States.IN_PROGRESS],
            maintenance_changed,
            body or "The work is done. We are verifying that everything works.",
            at=at,
            author=author,
            due=due,
            state=States.VERIFYING,
            verifying_at=at,
            is_touched=due is None,
        )

    def complete(
        self,
        *,
        at: datetime,
        author: User | None = None,
        body: str = "",
        due: datetime | None = None,
    ) -> bool:
        """End it now; False if it is not under way."""
        return self._turn(
            [*UNDER_WAY],
            maintenance_completed,
            body or "The maintenance is completed.",
            at=at,
            author=author,
            due=due,
            state=States.COMPLETED,
            ended_at=at,
            is_touched=due is None,
        )

    def cancel(
        self,
        *,
        at: datetime,
        reason: str = "",
        author: User | None = None,
        is_told: bool = True,
    ) -> bool:
        """Call it off, before it begins or under way; False if it is over."""
        return self._turn(
            [States.SCHEDULED, *UNDER_WAY],
            maintenance_cancelled if is_told else None,
            markdown.escape(reason) or "The maintenance is cancelled.",
            at=at,
            author=author,
            state=States.CANCELLED,
            ended_at=at,
            reason=reason[:500],
            is_touched=True,
        )

    @transaction.atomic
    def note(
        self, body: str, *, at: datetime, author: User | None = None
    ) -> "OccurrenceUpdate":
        """Tell something new about it; its state stays."""
        self._hear()
        written = self._write(body, at, author)
        self._tell(maintenance_changed, written)
        return written

    @transaction.atomic
    def remind(self, *, at: datetime) -> bool:
        """Send the reminder that is due, once; of several only the last.

        What has begun, or was cancelled, is not reminded of.
        """
        self._lock()
        due = self.reminders.filter(settled_at=None, due_at__lte=at)
        minutes = min(due.values_list("minutes", flat=True), default=0)
        if not due.update(settled_at=at):
            return False
        is_ahead = self.state == States.SCHEDULED and self.starts_at > at
        if not is_ahead or not self.sends_reminders:
            return False
        self._hear()
        maintenance_reminded.send(
            sender=Occurrence, occurrence=self, update=None, minutes=minutes
        )
        return True

    def step(self) -> bool:
        """Take the step that is due, at its planned moment, however late it is.

        False if somebody else was faster.
        """
        due = self.due_at
        if due is None:
            return False
        if self.state == States.SCHEDULED:
            return self.start(at=due, due=due)
        is_done = self.state == States.VERIFYING
        if is_done or not self.maintenance.verify_before_completion:
            return self.complete(at=due, due=due)
        return self.verify(at=due, due=due)

    # What a maintenance does with its dates

    def announce(self) -> None:
        """Tell that it is planned."""
        self._hear()
        self._tell(maintenance_scheduled, None)

    def show(self) -> None:
        """What is shown of it has changed, and nobody is told."""
        self._tell(maintenance_changed, None)

    def is_free(self, at: datetime) -> bool:
        """Whether it follows its maintenance: nothing has begun, nobody touched it."""
        is_ahead = self.state == States.SCHEDULED and self.starts_at > at
        return is_ahead and not self.is_touched

    def follow_times(
        self, original: str, starts_at: datetime, ends_at: datetime, *, at: datetime
    ) -> bool:
        """Take other times from its maintenance; False if they are the same.

        Raises ValidationError if it cannot happen then.
        """
        # What happens once keeps the name it has.
        original = original if self.maintenance.recurs else self.original
        if (starts_at, ends_at) == (self.starts_at, self.ends_at):
            Occurrence.objects.filter(pk=self.pk).exclude(original=original).update(
                original=original
            )
            return False
        self._check_other(starts_at, ends_at, at)
        with transaction.atomic():
            changed = self._turn(
                [States(self.state)],
                None,
                "",
                at=at,
                original=original,
                starts_at=starts_at,
                ends_at=ends_at,
            )
            self.plan_reminders([self], at)
        return changed

    @classmethod
    def withdraw(
        cls, rows: Iterable["Occurrence"], *, at: datetime, author: User | None = None
    ) -> None:
        """There are no such dates any more.

        What nobody was told of is forgotten. What people know stays, cancelled: their
        links lead to it. Telling them is left to the maintenance, which does it once,
        however many there are.
        """
        quiet = [row for row in rows if not row.is_told]
        laid = Overlay.objects.filter(cause__in=[row.cause for row in quiet])
        laid.delete()
        cls.objects.filter(pk__in=[row.pk for row in quiet]).delete()
        for row in rows:
            if row.is_told:
                row._withdraw(at, author)

    def _withdraw(self, at: datetime, author: User | None) -> None:
        self._turn(
            [States.SCHEDULED],
            None,
            _DATES_CHANGED,
            at=at,
            author=author,
            state=States.CANCELLED,
            ended_at=at,
            reason=_DATES_CHANGED,
        )

    def affect(
        self, before: Mapping[Monitor, str], after: Mapping[Monitor, str], at: datetime
    ) -> None:
        """End what is laid over monitors that are affected otherwise now; lay anew."""
        begin, end = self.held
        other = {m for m in {*before, *after} if before.get(m) != after.get(m)}
        laid = Overlay.objects.filter(cause=self.cause, monitor__in=other)
        if begin >= at:
            laid.delete()
        else:
            laid.filter(ended_at=end).update(ended_at=at)
        levels = {m: level for m, level in after.items() if m in other}
        self._lay(levels, max(begin, at))

    # Overlays

    @property
    def held(self) -> tuple[datetime, datetime | None]:
        """From when until when alerts are held; until a person says so, if None."""
        return self.begins_at, self._held_until()

    def _held_until(self) -> datetime | None:
        if self.ended_at:
            return self.ended_at
        if not (self.verifying_at or self.maintenance.verify_before_completion):
            return self.ends_at
        minutes = self.maintenance.verify_minutes
        begin = self.verifying_at or self.ends_at
        return begin + timedelta(minutes=minutes) if minutes else None

    def is_near(self, at: datetime) -> bool:
        return self.starts_at <= at + LAID_AHEAD

    @transaction.atomic
    def lay(self) -> bool:
        """Lay its overlays with their planned times, once."""
        self._lock()
        mine = Occurrence.objects.open().filter(pk=self.pk, is_laid=False)
        if not mine.update(is_laid=True):
            return False
        self.is_laid = True
        self._lay(self._levels(), self.begins_at)
        return True

    def _levels(self) -> dict[Monitor, str]:
        impacts = self.maintenance.impacts.select_related("monitor")
        return {impact.monitor: impact.level for impact in impacts}

    def _lay(self, levels: Mapping[Monitor, str], begin: datetime) -> None:
        Overlay.objects.bulk_create(
            Overlay(
                monitor=monitor,
                kind=Overlay.Kind.MAINTENANCE,
                status=level.lower(),
                started_at=begin,
                ended_at=self.held[1],
                cause=self.cause,
                holds_alerts=True,
            )
            for monitor, level in levels.items()
            if level != "NONE"
        )

    def follow(self, before: tuple[datetime, datetime | None]) -> None:
        """Have what was laid from and until these moments follow the times."""
        laid = Overlay.objects.filter(cause=self.cause)
        if self.state == States.CANCELLED and self.started_at is None:
            laid.delete()
            return
        begin, end = self.held
        laid.filter(started_at=before[0]).update(started_at=begin)
        laid.filter(ended_at=before[1]).update(ended_at=end)

    def hold_anew(self, before: tuple[datetime, datetime | None]) -> None:
        """Its maintenance has changed for how long it is verified."""
        self.follow(before)
        Occurrence.objects.filter(pk=self.pk).update(due_at=self._next_due())

    # What the transitions are made of

    def _lock(self) -> None:
        """Make changes of one occurrence wait for each other, and read it anew.

        Its maintenance comes first, as it does for whoever changes that.
        """
        parents = type(self.maintenance)._default_manager
        parent = parents.select_for_update(no_key=True).get(pk=self.maintenance_id)
        self.refresh_from_db(
            from_queryset=Occurrence.objects.select_for_update(no_key=True)
        )
        self.maintenance = parent

    def _turn(
        self,
        states: Iterable[States],
        signal: Any,
        body: str,
        *,
        at: datetime,
        author: User | None = None,
        due: datetime | None = None,
        is_touched: bool = False,
        **changes: Any,
    ) -> bool:
        """Change it, if it is in one of the states; with `due`, if it still is due."""
        html = markdown.render(body)
        with transaction.atomic():
            self._lock()
            if self.state not in [*states] or (due and self.due_at != due):
                return False
            was, held = self._as_was(), self.held
            for name, value in changes.items():
                setattr(self, name, value)
            self.is_touched = self.is_touched or is_touched
            self._keep_order()
            self._keep_words()
            self._keep_count(was, at)
            self.due_at = self._next_due()
            if not self._save(was):
                return False
            self._cover(held, at)
            self._keep_impacts()
            written = self._write(body, at, author, html) if body else None
            if signal:
                self._tell(signal, written)
        return True

    def _as_was(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _CHANGED}

    def _keep_order(self) -> None:
        """It does not end before it began, however late it was begun by hand."""
        if self.ended_at and self.started_at:
            self.ended_at = max(self.ended_at, self.started_at)

    def _keep_words(self) -> None:
        """What comes to be planned after it has ended is not what it was."""
        if not self.is_open:
            self.kept_title = self.maintenance.title
            self.kept_html = self.maintenance.html

    def _keep_impacts(self) -> None:
        if not self.is_open:
            OccurrenceImpact.objects.bulk_create(
                OccurrenceImpact(
                    occurrence=self, monitor_id=impact.monitor_id, level=impact.level
                )
                for impact in self.maintenance.impacts.order_by("pk")
            )

    def _hear(self) -> None:
        """Note that people are told of this date."""
        Occurrence.objects.filter(pk=self.pk, is_told=False).update(is_told=True)
        self.is_told = True

    def _keep_count(self, was: Mapping[str, Any], at: datetime) -> None:
        """Count what calendars have to hear of: other times, or that it is off."""
        self.changed_at = at
        begin, end = (
            was["started_at"] or was["starts_at"],
            was["ended_at"] or was["ends_at"],
        )
        is_off = self.state == States.CANCELLED
        if is_off or (begin, end) != (self.begins_at, self.finishes_at):
            self.sequence += 1

    def _save(self, was: Mapping[str, Any]) -> bool:
        """Write it down, unless somebody else has been faster."""
        same = {name: was[name] for name in ("state", "due_at", "sequence")}
        found = Occurrence.objects.filter(pk=self.pk, **same)
        if not found.update(**self._as_was()):
            self.refresh_from_db()
            return False
        self._tell_maintenance()
        return True

    def _tell_maintenance(self) -> None:
        """What happens once is planned as its only date is."""
        if self.state in FINAL:
            return
        once = type(self.maintenance)._default_manager.filter(
            pk=self.maintenance_id, rrule=""
        )
        once.update(starts_at=self.starts_at, ends_at=self.ends_at)

    def _next_due(self) -> datetime | None:
        """When the clock has to do something with it."""
        if self.state in FINAL:
            return None
        if self.state == States.SCHEDULED:
            return self.starts_at
        return self.ends_at if self.state == States.IN_PROGRESS else self.held[1]

    def _cover(self, before: tuple[datetime, datetime | None], at: datetime) -> None:
        if self.is_laid:
            self.follow(before)
        elif self.is_open and (self.started_at or self.is_near(at)):
            self.lay()

    def _check(self, starts_at: datetime, ends_at: datetime) -> None:
        if not timedelta(0) < ends_at - starts_at <= LONGEST:
            raise ValidationError(
                {"ends_at": f"It ends after its start, within {LONGEST.days} days."}
            )

    def _check_ahead(
        self, starts_at: datetime, ends_at: datetime, at: datetime
    ) -> None:
        """It lies ahead; the minute that goes on does still."""
        self._check(starts_at, ends_at)
        if ends_at <= at:
            raise ValidationError({"ends_at": OVER})
        if starts_at < at.replace(second=0, microsecond=0):
            raise ValidationError({"starts_at": PAST})

    def _check_other(
        self, starts_at: datetime, ends_at: datetime, at: datetime
    ) -> None:
        """Of what has begun only the end can be another."""
        if starts_at != self.starts_at:
            if self.state != States.SCHEDULED:
                raise ValidationError(
                    {"starts_at": "It has begun; only its end can be changed."}
                )
            self._check_ahead(starts_at, ends_at, at)
        if ends_at <= at:
            raise ValidationError({"ends_at": OVER})
        self._check(self.started_at or starts_at, ends_at)

    def _write(
        self, body: str, at: datetime, author: User | None, html: str = ""
    ) -> "OccurrenceUpdate":
        return self.updates.create(
            state=self.state,
            body=body,
            html=html or markdown.render(body),
            at=at,
            author=author,
        )

    def _tell(self, signal: Any, update: "OccurrenceUpdate | None") -> None:
        signal.send(sender=Occurrence, occurrence=self, update=update)

    @classmethod
    def plan_reminders(cls, rows: Iterable["Occurrence"], at: datetime) -> None:
        """Make the reminders of these anew; those whose time is over are settled."""
        rows = [row for row in rows if row.state == States.SCHEDULED]
        Reminder.objects.filter(occurrence__in=rows).delete()
        Reminder.objects.bulk_create(
            Reminder.of(row, minutes, at)
            for row in rows
            for minutes in sorted(set(row.maintenance.reminders))
        )

    # Properties

    @property
    def title(self) -> str:
        """What it is called, or was when it ended."""
        kept = "" if self.is_open else self.kept_title
        return titles.one_line(kept or self.maintenance.title)

    @property
    def html(self) -> str:
        """What is said of it, or was when it ended."""
        return self.maintenance.html if self.is_open else self.kept_html

    @property
    def affected(self) -> "Iterable[MaintenanceImpact] | Iterable[OccurrenceImpact]":
        """What it does to monitors, or did."""
        if self.is_open:
            return self.maintenance.impacts.all()
        return self.impacts.select_related("monitor")

    @property
    def sends_reminders(self) -> bool:
        """Off for all is off for each."""
        if not self.maintenance.sends_reminders:
            return False
        return MaintenanceSettings.current().sends_reminders

    @property
    def is_open(self) -> bool:
        return self.state not in FINAL

    @property
    def begins_at(self) -> datetime:
        """When it began, or is planned to begin."""
        return self.started_at or self.starts_at

    @property
    def finishes_at(self) -> datetime:
        """When it ended, or is or was planned to end."""
        return (self.started_at and self.ended_at) or self.ends_at

    @property
    def cause(self) -> str:
        """What overlays and messages know this by."""
        return f"maintenance-occurrence:{self.pk}"

    @property
    def calendar_uid(self) -> str:
        host = urlsplit(settings.TOCSIN_URL).hostname or "localhost"
        return f"{self.uid}@{host}"

    @property
    def path(self) -> str:
        return f"/maintenance/{self.pk}/"

    @property
    def url(self) -> str:
        return f"{settings.TOCSIN_URL}{self.path}"


class OccurrenceUpdate(models.Model):
    """One entry of its story, in Markdown and as the HTML that everybody gets."""

    occurrence = models.ForeignKey(Occurrence, models.CASCADE, related_name="updates")
    state = models.CharField(max_length=11, choices=States.choices)
    body = models.TextField(max_length=20_000)
    html = models.TextField(editable=False)
    at = models.DateTimeField(default=timezone.now)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
    )

    class Meta:
        ordering = ["-at", "-pk"]

    def __str__(self) -> str:
        return f"{self.get_state_display()}: {self.body[:60]}"

    @property
    def plain(self) -> str:
        """The words alone."""
        return markdown.plain(self.html)


class OccurrenceImpact(models.Model):
    """What a date that has ended did to a monitor."""

    occurrence = models.ForeignKey(Occurrence, models.CASCADE, related_name="impacts")
    monitor = models.ForeignKey(Monitor, models.CASCADE, related_name="+")
    level = models.CharField(max_length=11, choices=Levels.choices)

    class Meta:
        ordering = ["pk"]
        constraints = [
            UniqueConstraint(
                fields=["occurrence", "monitor"],
                name="one_impact_per_occurrence_and_monitor",
            )
        ]

    def __str__(self) -> str:
        return f"{self.monitor} {self.get_level_display()}"


class Reminder(models.Model):
    """A notice that is due so many minutes before an occurrence begins."""

    occurrence = models.ForeignKey(Occurrence, models.CASCADE, related_name="reminders")
    minutes = models.PositiveIntegerField()
    due_at = models.DateTimeField()
    # Sent, or of no use any more.
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["due_at", "pk"]
        constraints = [
            UniqueConstraint(
                fields=["occurrence", "minutes"],
                name="one_reminder_per_occurrence_and_lead",
            )
        ]
        indexes = [
            models.Index(
                fields=["due_at"], condition=Q(settled_at=None), name="reminders_due"
            )
        ]

    def __str__(self) -> str:
        return f"{self.minutes} minutes before {self.occurrence}"

    @classmethod
    def of(cls, occurrence: Occurrence, minutes: int, at: datetime) -> "Reminder":
        due = occurrence.starts_at - timedelta(minutes=minutes)
        settled = at if due <= at else None
        return cls(
            occurrence=occurrence, minutes=minutes, due_at=due, settled_at=settled
        )


def in_words(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
