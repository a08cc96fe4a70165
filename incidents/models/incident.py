from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, Group, User
from django.db import models, transaction
from django.db.models import F, OuterRef, Q, Subquery, UniqueConstraint, Value
from django.db.models.functions import Greatest
from django.utils import timezone
from django.utils.text import smart_split, unescape_string_literal

from alerting.models import Alert, AlertRule, Decision, Transition
from incidents import markdown, words
from incidents.patience import Patience
from incidents.signals import (
    incident_deleted,
    incident_published,
    incident_reopened,
    incident_resolved,
    incident_updated,
)
from monitors.models import IncidentSeverity as Severity
from monitors.models import Label, Monitor, Overlay
from monitors.models.severity import severity_name
from outbox.models import cancel

from .automation import Automation, badge_of
from .search_text import SearchText, says
from .state import State
from .story import Impact, IncidentAlert, IncidentUpdate
from .timeline import TOCSIN, Author, TimelineEntry, name_of, person

Kind = TimelineEntry.Kind

# Who deals with it stays who it was.
KEPT: Any = object()

# Of those that are looked for; each costs a look at everything that was ever said.
MOST_WORDS = 8

# What is going on, whether the public knows of it or not.
GOES_ON = Q(ended_at=None, deleted_at=None, discarded_at=None)

# Drafts: what the public may come to know of.
WAITS = Q(published_at=None, discarded_at=None, is_private=False)


class IncidentQuerySet(models.QuerySet["Incident"]):
    def current(self) -> "IncidentQuerySet":
        """Leave out those deleted."""
        return self.filter(deleted_at=None)

    def published(self) -> "IncidentQuerySet":
        """What the public may see."""
        return self.current().exclude(published_at=None).filter(merged_into=None)

    def drafts(self) -> "IncidentQuerySet":
        """What waits to be published or discarded."""
        return self.current().filter(WAITS)

    def visible_to(self, user: User | AnonymousUser) -> "IncidentQuerySet":
        """Leave out the private ones whose groups somebody is in none of."""
        if user.is_superuser and user.is_active:
            return self
        if not user.is_active:
            return self.filter(is_private=False)
        mine = Incident.groups.through.objects.filter(group__user=user.pk)
        return self.filter(Q(is_private=False) | Q(pk__in=mine.values("incident")))

    def saying(self, words: str, *, internal: bool = False) -> "IncidentQuerySet":
        """What has each of the words in its title, the updates or a monitor's name.

        Words in quotes are one; notes are looked at if they are asked for.
        """
        found = self
        for word in map(_unquoted, islice(smart_split(words), MOST_WORDS)):
            named = Monitor.objects.filter(name__icontains=word).order_by()
            touched = Impact.objects.filter(monitor__in=named.values("pk")).order_by()
            affects = Q(pk__in=touched.values("incident"))
            found = found.filter(says(word, internal=internal) | affects)
        return found

    def due(self, at: datetime) -> "IncidentQuerySet":
        """The drafts that publish themselves by now, unless they are over."""
        return self.drafts().filter(publish_at__lte=at, ended_at=None)

    def open(self) -> "IncidentQuerySet":
        return self.current().filter(discarded_at=None).exclude(state=State.RESOLVED)

    def resolved(self) -> "IncidentQuerySet":
        return self.current().filter(state=State.RESOLVED)

    def automatic(self) -> "IncidentQuerySet":
        return self.filter(source=Incident.Source.ALERT)

    @transaction.atomic
    def expect_news(self, patience: Patience) -> None:
        """Write down anew when each that goes on is asked about, all at once."""
        told = IncidentUpdate.objects.filter(incident=OuterRef("pk"))
        newest = Subquery(told.order_by("-at").values("at")[:1])
        locked = self.filter(GOES_ON).select_for_update(of=("self",), no_key=True)
        found: list[Any] = list(locked.order_by("pk").annotate(told_at=newest))
        for incident in found:
            incident.expect_news(patience, incident.told_at)
        self.bulk_update(found, ["nag_at"], batch_size=500)


def _unquoted(bit: str) -> str:
    is_quoted = len(bit) > 1 and bit[0] == bit[-1] and bit[0] in "'\""
    return unescape_string_literal(bit) if is_quoted else bit


class Incident(models.Model):
    """What people are told: its state is that of its latest update by time.

    Until it is published it is a draft, of which only operators know.
    """

    Severity = Severity

    class Source(models.TextChoices):
        ALERT = "ALERT", "Alert"
        DASHBOARD = "DASHBOARD", "Dashboard"
        API = "API", "API"

    title = models.CharField(max_length=255)
    state = models.CharField(
        max_length=15, choices=State.choices, default=State.INVESTIGATING
    )
    severity = models.PositiveSmallIntegerField(
        choices=Severity.choices, default=Severity.MINOR
    )
    source = models.CharField(
        max_length=10, choices=Source.choices, default=Source.DASHBOARD
    )
    # Who or what opened it, in short: "Auto: Uptime", "API", or nothing.
    badge = models.CharField(max_length=40, blank=True, editable=False)
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    published_at = models.DateTimeField(null=True, blank=True)
    # When a draft publishes itself; a person may hold that up.
    publish_at = models.DateTimeField(null=True, blank=True, editable=False)
    is_held = models.BooleanField(default=False, editable=False)
    discarded_at = models.DateTimeField(null=True, blank=True, editable=False)
    discard_reason = models.CharField(max_length=200, blank=True, editable=False)
    # Who published or discarded the draft; nobody if Tocsin did.
    decided_by = models.CharField(max_length=150, blank=True, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    # By when people are promised to hear more, while it goes on.
    next_update_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Who deals with it, and words by which it is found.
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="owned_incidents",
    )
    labels = models.ManyToManyField(Label, blank=True, related_name="incidents")
    # Of which rule and monitor an automatic one is.
    rule = models.ForeignKey(
        AlertRule,
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="incidents",
    )
    monitor = models.ForeignKey(
        Monitor,
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="own_incidents",
    )
    # The incident that tells of it instead: it is told nowhere by itself any more.
    merged_into = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="merged",
    )
    # Known to members of these groups alone, and never public while it is so.
    is_private = models.BooleanField("private", default=False, editable=False)
    groups = models.ManyToManyField(Group, blank=True, related_name="incidents")
    # When its owner is asked for news, and how often that has happened in a row.
    nag_at = models.DateTimeField(null=True, blank=True, editable=False)
    nags = models.PositiveSmallIntegerField(default=0, editable=False)
    # One for many monitors that failed at once; when the newest of them began.
    is_umbrella = models.BooleanField(default=False, editable=False)
    newest_join_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Counts every change, so that two people do not overwrite each other.
    version = models.PositiveIntegerField(default=0, editable=False)

    # What the timeline gets in one statement, while there is more to come.
    _unlogged: list[TimelineEntry] | None = None

    objects = IncidentQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at", "-pk"]
        permissions = [("publish_incident", "Can publish and discard drafts")]
        constraints = [
            UniqueConstraint(
                fields=["rule", "monitor"],
                condition=GOES_ON,
                name="one_open_incident_per_rule_and_monitor",
            ),
            UniqueConstraint(
                fields=["is_umbrella"],
                condition=GOES_ON & Q(is_umbrella=True),
                name="one_open_umbrella",
            ),
        ]
        indexes = [
            models.Index(fields=["-started_at", "-id"], name="incidents_newest_first"),
            models.Index(fields=["state"], name="incidents_by_state"),
            models.Index(
                fields=["publish_at"],
                condition=~Q(publish_at=None),
                name="incidents_to_publish",
            ),
            models.Index(
                fields=["nag_at"], condition=~Q(nag_at=None), name="incidents_to_nag"
            ),
        ]

    def __str__(self) -> str:
        return self.title

    # Factories

    @classmethod
    @transaction.atomic
    def open(
        cls,
        *,
        title: str,
        summary: str,
        started_at: datetime,
        at: datetime,
        source: str,
        severity: int = Severity.MINOR,
        impacts: Mapping[Monitor, str] | None = None,
        owner: User | None = None,
        labels: Iterable[Label] | None = None,
        groups: Iterable[Group] | None = None,
        ended_at: datetime | None = None,
        closing: str = "",
        notifies: bool = True,
        is_draft: bool = False,
        author: Author = None,
    ) -> "Incident":
        """Open an incident, public or a draft; the summary becomes its first update.

        With `groups` it is private. With `ended_at` it is entered afterwards: what
        is over is told on the pages, with the words `closing`, and sent to nobody.
        """
        groups = [*(groups or ())]
        notifies = notifies and ended_at is None
        incident = cls.objects.create(
            title=title,
            source=source,
            severity=severity,
            badge="API" if source == cls.Source.API else "",
            started_at=started_at,
            created_at=at,
            published_at=None if groups or is_draft else at,
            is_private=bool(groups),
            is_held=is_draft,
            owner=owner,
            nag_at=Automation.current().patience.next_end(at),
        )
        with incident._logging_at_once():
            incident._log_opening(author)
            if owner:
                incident._log_owner(at, author)
            if labels:
                incident._label(labels, at, author)
            for monitor, impact in (impacts or {}).items():
                incident._lay(monitor, impact, at=started_at, author=author)
            if groups:
                incident._admit(groups, at, author)
            first = incident._write(
                State.INVESTIGATING, summary, started_at, author, notifies=notifies
            )
        SearchText.begin(incident, title, summary)
        if ended_at:
            incident._close_past(closing, max(ended_at, started_at), author)
        incident._tell(incident_published, first if notifies else None)
        return incident

    def _close_past(self, closing: str, at: datetime, author: Author) -> None:
        self.update(
            state=State.RESOLVED,
            body=closing or "This incident was resolved.",
            at=at,
            author=author,
            notifies=False,
        )

    @classmethod
    def open_for(
        cls,
        alert: Alert,
        *,
        at: datetime,
        severity: int | None = None,
        is_draft: bool = False,
        publish_at: datetime | None = None,
        settings: Automation | None = None,
    ) -> "Incident":
        """Open the incident of an alert, public at once or as a draft.

        Raises IntegrityError if its rule and monitor have an open one.
        """
        automation = settings or Automation()
        if severity is None:
            severity = automation.severity_of(alert, alert.rule, alert.monitor)
        return cls._open_by_itself(
            alert,
            words.triggered(alert),
            at,
            title=str(alert)[:255],
            severity=severity,
            rule_id=alert.rule_id,
            monitor_id=alert.monitor_id,
            published_at=None if is_draft else at,
            publish_at=publish_at if is_draft else None,
            nag_at=None if is_draft else automation.patience.next_end(at),
        )

    @classmethod
    def open_umbrella(
        cls, alert: Alert, *, at: datetime, severity: int, publish_at: datetime | None
    ) -> "Incident":
        """Open the one draft for everything that fails at once.

        Raises IntegrityError if there is one already.
        """
        return cls._open_by_itself(
            alert,
            words.storm(),
            at,
            title=words.storm_title(1),
            severity=severity,
            is_umbrella=True,
            newest_join_at=alert.began_at,
            publish_at=publish_at,
        )

    @classmethod
    @transaction.atomic(savepoint=False)
    def _open_by_itself(
        cls, alert: Alert, said: str, at: datetime, **facts: Any
    ) -> "Incident":
        incident = cls.objects.create(
            source=cls.Source.ALERT,
            badge=f"Auto: {badge_of(alert.monitor_kind) or 'Uptime'}",
            started_at=alert.began_at,
            created_at=at,
            **facts,
        )
        with incident._logging_at_once():
            incident._log_opening(None)
            incident._take(alert)
            if alert.monitor:
                incident._lay(alert.monitor, Impact.level_of(alert), at=alert.began_at)
            first = incident._write(
                State.INVESTIGATING, said, alert.triggered_at, is_automatic=True
            )
        SearchText.begin(incident, incident.title, said)
        incident._link(alert)
        incident._tell(incident_published, first)
        return incident

    # Transitions of a draft

    @transaction.atomic
    def publish(
        self, *, at: datetime, author: Author = None, only_due: bool = False
    ) -> bool:
        """Make the draft public, once; with `only_due`, if nothing held it up.

        People are told of its first update or, if it is over already, of its end.
        """
        which = Incident.objects.due(at) if only_due else Incident.objects.drafts()
        if not which.filter(pk=self.pk).update(
            published_at=at,
            publish_at=None,
            decided_by=name_of(author),
            version=F("version") + 1,
        ):
            return False
        self.refresh_from_db()
        self.expect_news(Automation.current().patience, at)
        self.save(update_fields=["nag_at"])
        self._log(Kind.PUBLISHED, "Became public", at=at, author=author)
        impacts = self.impacts.select_related("monitor")
        Overlay.objects.bulk_create(self._overlay(impact) for impact in impacts)
        for link in self.alert_links.select_related("alert"):
            self._link(link.alert)
        in_order = self.updates.order_by("at", "pk")
        self._tell(
            incident_published, in_order.first() if self.is_open else in_order.last()
        )
        return True

    @transaction.atomic
    def discard(self, *, at: datetime, reason: str = "", author: Author = None) -> bool:
        """Never publish the draft; it is kept for the record."""
        if (
            not Incident.objects.drafts()
            .filter(pk=self.pk)
            .update(
                discarded_at=at,
                discard_reason=reason[:200],
                publish_at=None,
                decided_by=name_of(author),
                version=F("version") + 1,
            )
        ):
            return False
        self.refresh_from_db()
        said = f"Discarded: {reason}" if reason else "Discarded"
        self._log(Kind.DISCARDED, said, at=at, author=author, reason=reason)
        self._end_impacts(at)
        return True

    @transaction.atomic
    def restrict(
        self, groups: Iterable[Group], *, at: datetime, author: Author = None
    ) -> bool:
        """Let these groups alone know of it; without any it is a draft, and held.

        False if it is public or withdrawn: what people know cannot be hidden.
        """
        self._lock()
        if self.published_at or self.is_withdrawn:
            return False
        chosen = [*groups]
        self.is_private, self.is_held, self.publish_at = bool(chosen), True, None
        self.expect_news(Automation.current().patience, at)
        self.version += 1
        self.save(
            update_fields=["is_private", "is_held", "publish_at", "nag_at", "version"]
        )
        self._admit(chosen, at, author)
        return True

    def _admit(self, groups: list[Group], at: datetime, author: Author) -> None:
        self.groups.set(groups)
        names = sorted(group.name for group in groups)
        said = f"Private: seen by {', '.join(names)}" if names else "No longer private"
        self._log(Kind.PRIVACY, said, at=at, author=author, groups=names)

    @transaction.atomic
    def hold(self, *, at: datetime | None = None, author: Author = None) -> bool:
        """Stop the countdown: the draft waits for a person."""
        held = Incident.objects.drafts().filter(pk=self.pk, is_held=False)
        changed = held.update(is_held=True, publish_at=None, version=F("version") + 1)
        self.refresh_from_db()
        if changed:
            at = at or timezone.now()
            self._log(Kind.HELD, "Stopped the countdown", at=at, author=author)
        return bool(changed)

    # Transitions

    @transaction.atomic
    def update(
        self,
        *,
        state: str,
        body: str,
        at: datetime,
        author: Author = None,
        is_automatic: bool = False,
        notifies: bool = True,
        since: datetime | None = None,
        next_update_at: datetime | None = None,
        impacts: Mapping[Monitor, str] | None = None,
    ) -> IncidentUpdate:
        """Tell something new; the latest update by time makes the state.

        RESOLVED ends the incident at the moment of the update; a later update
        with another state goes on with it, and what it had done to monitors goes
        on `since` then. An update that is back-dated behind others only joins
        the story. Unless it `notifies`, it is read on the pages and sent to nobody.
        It keeps the promise of an update, and may make another. `impacts` are those
        that it changes; a monitor without a level is spared.
        """
        self._lock()
        if next_update_at or at >= self.not_before_newest(at):
            self._promise(next_update_at, at=at, author=author)
        written = self._write(
            state, body, at, author, is_automatic=is_automatic, notifies=notifies
        )
        SearchText.add(self, written)
        told = written if notifies else None
        self._settle(told, at=at, author=author, since=since, impacts=impacts)
        return written

    @transaction.atomic
    def note(self, body: str, *, at: datetime, author: Author = None) -> IncidentUpdate:
        """Write what only operators read; it changes nothing that people are told."""
        self._lock()
        note = self._compose(self.state, body, at, author, is_internal=True)
        facts = {"update": note.pk, "body": body}
        self._log(Kind.NOTE, note.plain, at=at, author=author, **facts)
        SearchText.add(self, note)
        self._count_change()
        return note

    @transaction.atomic
    def remark(
        self, kind: str, text: str, *, at: datetime, author: Author = None, **facts: Any
    ) -> None:
        """Write down what an app above has changed about it."""
        self._lock()
        self._log(kind, text, at=at, author=author, **facts)
        self._count_change()

    @transaction.atomic
    def schedule(
        self,
        *,
        state: str,
        body: str,
        publish_at: datetime,
        author: Author = None,
        notifies: bool = True,
        next_update_at: datetime | None = None,
        impacts: Mapping[Monitor, str] | None = None,
    ) -> IncidentUpdate:
        """Write an update that is told at a moment to come, with all it changes."""
        self._lock()
        more = next_update_at and (next_update_at - publish_at).total_seconds() // 60
        waits = self._compose(
            state,
            body,
            publish_at,
            author,
            notifies=notifies,
            publish_at=publish_at,
            promises_minutes=more,
            impact_changes={m.pk: level for m, level in (impacts or {}).items()},
        )
        SearchText.add(self, waits)
        said = f"An update is to be told at {publish_at:%Y-%m-%d %H:%M} UTC"
        self._log(
            Kind.SCHEDULED,
            said,
            at=timezone.now(),
            author=author,
            update=waits.pk,
            body=body,
            publish_at=publish_at.isoformat(),
        )
        self._count_change()
        return waits

    def _settle(
        self,
        told: IncidentUpdate | None,
        *,
        at: datetime,
        author: Author,
        since: datetime | None = None,
        impacts: Mapping[Monitor, str] | None = None,
    ) -> None:
        """Let state, end and impacts follow the story, and announce what came of it.

        Without an update that is `told`, pages change and nobody gets a message.
        """
        was, ended = self.state, self.ended_at
        self._follow_latest()
        if self.state != was:
            self._log_change(Kind.STATE, State(was).label, at=at, author=author)
        if ended and self.ended_at is None:
            self._go_on(ended, max(since or at, ended))
        elif ended and self.ended_at != ended:
            self._move_end(ended)
        for monitor, level in (impacts or {}).items():
            begun = self.not_before_newest(at)
            if level:
                self._affect(monitor, level, at=begun, author=author)
            else:
                self._spare(monitor, begun, author)
        self._announce(was, told)

    def _promise(
        self, next_update_at: datetime | None, *, at: datetime, author: Author
    ) -> None:
        self.nags = 0
        if next_update_at == self.next_update_at:
            return
        self.next_update_at = next_update_at
        self.save(update_fields=["next_update_at"])
        if next_update_at:
            by = next_update_at.astimezone(UTC)
            said = f"Next update promised by {by:%Y-%m-%d %H:%M} UTC"
            until = next_update_at.isoformat()
            self._log(Kind.PROMISE, said, at=at, author=author, next_update_at=until)

    def _announce(self, was: str, told: IncidentUpdate | None) -> None:
        signal = incident_updated
        if told and was != State.RESOLVED and self.state == State.RESOLVED:
            signal = incident_resolved
        elif told and was == State.RESOLVED and self.state != State.RESOLVED:
            signal = incident_reopened
        self._tell(signal, told)

    @transaction.atomic
    def resolve_for(self, alert: Alert, transition: Transition) -> bool:
        """Close what an alert opened, unless that is done or others still fail."""
        self._lock()
        at = transition.at
        said = f"Alert resolved: {alert}"
        self._log(Kind.ALERT, said[:500], at=at, alert=alert.pk)
        if not self.goes_on:
            return False
        others = Alert.objects.triggered().filter(incident_links__incident=self)
        others = others.exclude(pk=alert.pk)
        if others.exists():
            if not others.filter(monitor=alert.monitor_id).exists():
                if alert.monitor:
                    self._spare(alert.monitor, at)
                self._tell(incident_updated, None)
            return False
        if self.source != self.Source.ALERT:
            # It took the alert over: what a person opened, a person ends.
            if alert.monitor:
                self._spare(alert.monitor, at)
            self._tell(incident_updated, None)
            return False
        # Somebody may have written while the checks were recovering.
        at = self.not_before_newest(at)
        body = self._closing(alert, transition, at)
        self.update(state=State.RESOLVED, body=body, at=at, is_automatic=True)
        if self.is_draft:
            self._discard_recovered(alert, at)
        return True

    def _closing(self, alert: Alert, transition: Transition, at: datetime) -> str:
        length = at - self.started_at
        if self.newest_join_at:
            return words.storm_over(self._count_affected(), length)
        reason = "" if transition.is_evaluated else transition.reason
        return words.resolved(alert, reason, length)

    def _discard_recovered(self, alert: Alert, at: datetime) -> None:
        """Discard a draft that is over, unless a person has had a hand in it."""
        by_hand = IncidentUpdate.every.filter(incident=self, is_automatic=False)
        is_touched = self.is_held or by_hand.exists()
        if is_touched or not Automation.current().auto_discard:
            return
        self.discard(at=at, reason="It was over before anybody published it.")
        Decision.note(
            alert,
            "recovered",
            "The checks passed again before anybody published its draft, which was "
            "discarded.",
            at=at,
        )

    @transaction.atomic
    def reopen_for(self, alert: Alert, *, at: datetime) -> bool:
        """Go on with what was resolved by hand while its alert still fails."""
        self._lock()
        if self.deleted_at or self.discarded_at:
            self._note_withdrawn(alert, at)
            return False
        if self.state != State.RESOLVED:
            return False
        if not Alert.objects.triggered().filter(pk=alert.pk).exists():
            return False  # resolved since it was seen to fail
        self._reopen(alert, words.reopened(alert), at, since=at)
        return True

    @transaction.atomic
    def reopen_with(self, alert: Alert, *, at: datetime) -> bool:
        """Go on with what has ended because it failed again so soon after."""
        self._lock()
        if self.deleted_at or self.discarded_at or self.ended_at is None:
            return False
        self._take(alert)
        said = words.again(alert, alert.began_at - self.ended_at)
        self._reopen(alert, said, at, since=alert.began_at)
        self._link(alert)
        return True

    def _reopen(
        self, alert: Alert, said: str, at: datetime, *, since: datetime
    ) -> None:
        ended = self.ended_at or since
        self.update(
            state=State.INVESTIGATING,
            body=said,
            at=self.not_before_newest(at),
            is_automatic=True,
            since=since,
        )
        if alert.monitor:
            self._affect(alert.monitor, Impact.level_of(alert), at=max(since, ended))
        if self.is_draft and self.publish_at:
            # People get as much time to look as they had at first.
            self.publish_at = at + (self.publish_at - self.created_at)
            self.save(update_fields=["publish_at"])

    def _note_withdrawn(self, alert: Alert, at: datetime) -> None:
        gate = "deleted" if self.deleted_at else "discarded"
        said = f"Its incident was {gate} by hand; it is not opened again."
        Decision.note(alert, gate, said, at=at)

    @transaction.atomic
    def join(self, alert: Alert, *, severity: int) -> bool:
        """Take one more alert, while it is open: of a storm, or of what it took over."""
        self._lock()
        if not self.goes_on:
            return False
        is_unedited = self.title == words.storm_title(self._count_affected())
        self._take(alert)
        if alert.began_at < self.started_at:
            self.started_at = alert.began_at
        if alert.monitor:
            self._affect(alert.monitor, Impact.level_of(alert), at=alert.began_at)
        if is_unedited:
            title = words.storm_title(self._count_affected())
            worst = max(self.severity, severity)
            self._retitle(title, worst, alert.began_at, None)
        if self.newest_join_at:
            self.newest_join_at = max(self.newest_join_at, alert.began_at)
        self.version += 1
        self.save(
            update_fields=[
                *("title", "severity", "started_at", "newest_join_at", "version")
            ]
        )
        self._link(alert)
        self._tell(incident_updated, None)
        return True

    @transaction.atomic
    def delete_by_hand(self, *, at: datetime, author: Author = None) -> bool:
        """Take the incident back: nothing shows or tells of it any more."""
        if (
            not Incident.objects.current()
            .filter(pk=self.pk)
            .update(deleted_at=at, publish_at=None, version=F("version") + 1)
        ):
            return False
        self.refresh_from_db()
        self._log(Kind.DELETED, "Deleted", at=at, author=author)
        Overlay.objects.filter(cause=self.cause).delete()
        cancel(topic_key=self.cause, reason="The incident was deleted.")
        if self.published_at:
            incident_deleted.send(sender=Incident, incident=self)
        return True

    @transaction.atomic
    def revise(
        self,
        *,
        at: datetime,
        title: str | None = None,
        severity: int | None = None,
        started_at: datetime | None = None,
        impacts: Mapping[Monitor, str] | None = None,
        owner: User | None = KEPT,
        labels: Iterable[Label] | None = None,
        author: Author = None,
    ) -> None:
        """Change what is shown without an update; what is given is all there is."""
        self._lock()
        self._retitle(title, severity, at, author)
        if owner is not KEPT:
            self._assign(owner, at, author)
        if labels is not None:
            self._label(labels, at, author)
        if started_at is not None and started_at != self.started_at:
            was = self.started_at
            self._begin_at(started_at)
            said = f"Began {self.started_at:%Y-%m-%d %H:%M:%S} UTC"
            then = was.isoformat()
            self._log(Kind.BEGAN, said, at=at, author=author, **{"from": then})
        self.version += 1
        self.save(update_fields=["title", "severity", "started_at", "owner", "version"])
        if impacts is not None:
            self._suffer(impacts, at, author)
        self._tell(incident_updated, None)

    def _retitle(
        self, title: str | None, severity: int | None, at: datetime, author: Author
    ) -> None:
        if title is not None and title != self.title:
            was, self.title = self.title, title
            SearchText.rename(self, title)
            self._log_change(Kind.TITLE, was, at=at, author=author)
        if severity is not None and severity != self.severity:
            before, self.severity = self.severity, severity
            self._log_severity(before, at=at, author=author)

    def _assign(self, owner: User | None, at: datetime, author: Author) -> None:
        if owner == self.owner:
            return
        self.owner = owner
        self._log_owner(at, author)

    def _log_owner(self, at: datetime, author: Author) -> None:
        said = f"Owner: {self.owner or 'nobody'}"
        self._log(Kind.OWNER, said, at=at, author=author, owner=name_of(self.owner))

    def _label(self, labels: Iterable[Label], at: datetime, author: Author) -> None:
        had = sorted(self.labels.values_list("name", flat=True))
        has = sorted(label.name for label in labels)
        if has == had:
            return
        self.labels.set(labels)
        said = f"Labels: {', '.join(has) or 'none'}"
        self._log(Kind.LABELS, said, at=at, author=author, **{"from": had, "to": has})

    def _suffer(
        self, impacts: Mapping[Monitor, str], at: datetime, author: Author
    ) -> None:
        """End every impact that is not named, and begin those that are new."""
        open_impacts = self.impacts.filter(ended_at=None).select_related("monitor")
        for impact in open_impacts.exclude(monitor__in=list(impacts)):
            self._spare(impact.monitor, at, author)
        for monitor, level in impacts.items():
            self._affect(monitor, level, at=at, author=author)

    def _spare(self, monitor: Monitor, at: datetime, author: Author = None) -> None:
        if self._end_impacts(at, monitor=monitor.pk):
            said = f"{monitor}: no longer affected"
            self._log(Kind.IMPACT, said, at=at, author=author, monitor=monitor.tag)

    # Asking for news

    def expect_news(self, patience: Patience, told_at: datetime | None) -> None:
        """Say when its owner is asked for news, without saving that."""
        self.nag_at = None
        if self.is_awaited:
            since = self.silent_since(told_at)
            self.nag_at = patience.next_end(since, self.promised_at, self.nags)

    @transaction.atomic
    def count_nag(self, patience: Patience, *, at: datetime) -> bool:
        """Count that its owner is asked now; False if that is not due any more."""
        self._lock()
        told_at = self.told_at_last()
        since = self.silent_since(told_at)
        ends = patience.ends(since, self.promised_at) if self.is_awaited else ()
        passed = sum(end <= at for end in ends)
        is_due = passed > self.nags
        self.nags = max(passed, self.nags)
        self.expect_news(patience, told_at)
        self.save(update_fields=["nags", "nag_at"])
        return is_due

    def note_nag(self, asked: Sequence[str], *, at: datetime) -> None:
        """Write down who was asked, if there was anybody."""
        if asked:
            said = f"Asked for news: {', '.join(asked)}"
            self._log(Kind.NAGGED, said, at=at, asked=[*asked], number=self.nags)

    def told_at_last(self) -> datetime | None:
        newest = self.updates.order_by("-at").values_list("at", flat=True)
        return newest.first()

    def silent_since(self, told_at: datetime | None) -> datetime:
        """Return since when nobody has heard anything: it cannot be before it opened."""
        opened = self.published_at or self.created_at
        return max(told_at or opened, opened)

    # What the transitions are made of

    def _lock(self) -> None:
        """Make changes of one incident wait for each other, and read it anew."""
        self.refresh_from_db(
            from_queryset=Incident.objects.select_for_update(no_key=True)
        )

    def _log(
        self, kind: str, text: str, *, at: datetime, author: Author = None, **facts: Any
    ) -> None:
        """Add to the timeline; everything that changes an incident comes by here."""
        entry = TimelineEntry(
            incident=self,
            kind=kind,
            text=text[:500],
            happened_at=at,
            actor=name_of(author) or TOCSIN,
            facts=facts,
        )
        if self._unlogged is None:
            entry.save()
        else:
            self._unlogged.append(entry)

    @contextmanager
    def _logging_at_once(self) -> Iterator[None]:
        """Write what is logged meanwhile in one statement."""
        self._unlogged = []
        yield
        TimelineEntry.objects.bulk_create(self._unlogged)
        self._unlogged = None

    def _log_opening(self, author: Author) -> None:
        kind = "Opened" if self.published_at else "Opened as a draft"
        self._log(
            Kind.OPENED,
            f"{kind}: {self.title}",
            at=self.created_at,
            author=author,
            source=self.source,
            severity=Severity(self.severity).label,
            started_at=self.started_at.isoformat(),
        )

    def _log_change(
        self, kind: str, was: str, *, at: datetime, author: Author = None
    ) -> None:
        """Log that a fact is another now; `was` is what it was in words."""
        shown = {
            Kind.STATE: State(self.state).label,
            Kind.TITLE: self.title,
        }
        now = shown[Kind(kind)]
        facts = {"from": was, "to": now}
        said = f"{Kind(kind).label}: {was} \u2192 {now}"
        self._log(kind, said, at=at, author=author, **facts)

    def _log_severity(self, was: int, *, at: datetime, author: Author) -> None:
        """Say it as people do; programs read the names that never change."""
        said = f"Severity: {severity_name(was)} \u2192 {self.severity_label}"
        facts = {"from": Severity(was).label, "to": Severity(self.severity).label}
        self._log(Kind.SEVERITY, said, at=at, author=author, **facts)

    def _take(self, alert: Alert) -> None:
        """Make the alert one of this incident's."""
        IncidentAlert.objects.create(incident=self, alert=alert)
        said = f"Alert triggered: {alert}"
        self._log(Kind.ALERT, said, at=alert.triggered_at, alert=alert.pk)

    def _count_change(self) -> None:
        self.version += 1
        self.save(update_fields=["version"])

    def _move_end(self, was: datetime) -> None:
        """What had ended with the incident ends with it at its new end."""
        ended = self.ended_at
        for rows in (self.impacts.all(), Overlay.objects.filter(cause=self.cause)):
            moved = rows.filter(ended_at=was)
            moved.filter(started_at__gt=ended).update(ended_at=F("started_at"))
            rows.filter(ended_at=was).update(ended_at=ended)

    def _link(self, alert: Alert) -> None:
        """Tell the alert where operators or, once it is public, people read on."""
        path = self.path if self.published_at else self.admin_path
        alert.link(number=self.pk, path=path)

    def not_before_newest(self, at: datetime) -> datetime:
        newest = self.updates.order_by("-at").first()
        return max(at, newest.at) if newest else at

    def _count_affected(self) -> int:
        return self.impacts.values("monitor").distinct().count()

    def _begin_at(self, at: datetime) -> None:
        """Move the beginning, and whatever has begun with it."""
        at = min(at, self.ended_at) if self.ended_at else at
        self.impacts.filter(started_at=self.started_at).update(started_at=at)
        overlays = Overlay.objects.filter(cause=self.cause)
        overlays.filter(started_at=self.started_at).update(started_at=at)
        self.started_at = at

    def _affect(
        self, monitor: Monitor, level: str, *, at: datetime, author: Author = None
    ) -> None:
        """Begin an impact instead of another one; in an ended incident it ends too."""
        open_impacts = self.impacts.filter(monitor=monitor, ended_at=None)
        if open_impacts.filter(level=level).exists():
            return
        self._end_impacts(at, monitor=monitor.pk)
        self._lay(monitor, level, at=at, author=author)

    def _lay(
        self, monitor: Monitor, level: str, *, at: datetime, author: Author = None
    ) -> None:
        """Begin an impact and, if the public may see it, its overlay."""
        ended = max(at, self.ended_at) if self.ended_at else None
        impact = self.impacts.create(
            monitor=monitor, level=level, started_at=at, ended_at=ended
        )
        said = f"{monitor}: {impact.get_level_display().lower()}"
        facts = {"monitor": monitor.tag, "level": level}
        self._log(Kind.IMPACT, said, at=at, author=author, **facts)
        if self.published_at:
            self._overlay(impact).save()

    def _overlay(self, impact: Impact) -> Overlay:
        """What an impact lays over its monitor.

        The checks of a monitor that has an alert count already: its overlay
        must not count once more.
        """
        return Overlay(
            monitor=impact.monitor,
            kind=Overlay.Kind.INCIDENT,
            status=impact.level.lower(),
            started_at=impact.started_at,
            ended_at=impact.ended_at,
            cause=self.cause,
            counts=self.source != self.Source.ALERT,
        )

    def _write(
        self,
        state: str,
        body: str,
        at: datetime,
        author: Author = None,
        **more: Any,
    ) -> IncidentUpdate:
        """Add to the story that is told."""
        written = self._compose(state, body, at, author, **more)
        self._log_update(written, author)
        return written

    def _log_update(self, update: IncidentUpdate, author: Author) -> None:
        said = f"{update.get_state_display()}: {update.plain}"
        facts = {"update": update.pk, "body": update.body, "notifies": update.notifies}
        self._log(Kind.UPDATE, said, at=update.at, author=author, **facts)

    def _compose(
        self, state: str, body: str, at: datetime, author: Author, **more: Any
    ) -> IncidentUpdate:
        return self.updates.create(
            state=state,
            body=body,
            html=markdown.render(body),
            at=at,
            author=person(author),
            written_by=name_of(author),
            **more,
        )

    def _reword(self) -> None:
        """Let searches find what its updates say now."""
        SearchText.rewrite([self])

    def _follow_latest(self) -> None:
        had_ended = self.ended_at
        newest_first = self.updates.order_by("-at", "-pk").values_list("state", "at")
        self.state, ended, told_at = State.INVESTIGATING, None, None
        for n, (state, at) in enumerate(newest_first):
            if n == 0:
                self.state, told_at = State(state), at
            if state != State.RESOLVED:
                break
            ended = at  # a word after the end does not move the end
        # An incident cannot end before it began, whatever was back-dated.
        self.ended_at = max(ended, self.started_at) if ended else None
        self.version += 1
        if had_ended and not ended:
            self._step_aside()
        if self.ended_at is None:
            self.expect_news(Automation.current().patience, told_at)
        else:
            self.nag_at = None
        self.save(
            update_fields=[
                *("state", "ended_at", "version", "rule", "is_umbrella"),
                *("nag_at", "nags"),
            ]
        )
        if self.ended_at:
            self._end_impacts(self.ended_at)

    def _step_aside(self) -> None:
        """Going on again, leave its place to the one that has taken it since."""
        others = Incident.objects.filter(GOES_ON).exclude(pk=self.pk)
        if self.is_umbrella and others.filter(is_umbrella=True).exists():
            self.is_umbrella = False
        of_monitor = others.filter(rule=self.rule_id, monitor=self.monitor_id)
        if self.rule_id and self.monitor_id and of_monitor.exists():
            self.rule = None

    def _go_on(self, ended: datetime, at: datetime) -> None:
        """What had ended with the incident goes on with it."""
        for impact in self.impacts.filter(ended_at=ended).select_related("monitor"):
            self._affect(impact.monitor, impact.level, at=at)

    def _end_impacts(self, at: datetime, **which: Any) -> int:
        # What began later than that ends as it begins: nothing lasts less than 0 s.
        until = Greatest(F("started_at"), Value(at, models.DateTimeField()))
        ended = self.impacts.filter(ended_at=None, **which).update(ended_at=until)
        self._overlays(**which).update(ended_at=until)
        return ended

    def _overlays(self, **which: Any) -> "models.QuerySet[Overlay]":
        return Overlay.objects.filter(cause=self.cause, ended_at=None, **which)

    def _tell(self, signal: Any, update: IncidentUpdate | None) -> None:
        """Send a signal; nothing above hears of what is not public."""
        if self.published_at and not self.deleted_at:
            signal.send(sender=Incident, incident=self, update=update)

    # Properties

    @property
    def severity_label(self) -> str:
        """What people call its severity."""
        return severity_name(self.severity)

    @property
    def cause(self) -> str:
        """What overlays and messages know this incident by."""
        return f"incident:{self.pk}"

    @property
    def path(self) -> str:
        return f"/incidents/{self.pk}/"

    @property
    def admin_path(self) -> str:
        return f"/admin/incidents/incident/{self.pk}/change/"

    @property
    def url(self) -> str:
        return f"{settings.TOCSIN_URL}{self.path}"

    @property
    def is_open(self) -> bool:
        return self.state != State.RESOLVED and self.discarded_at is None

    @property
    def promised_at(self) -> datetime | None:
        """By when people wait for more; nothing once it is over."""
        return self.next_update_at if self.is_open else None

    @property
    def goes_on(self) -> bool:
        return self.is_open and self.deleted_at is None

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for news of it: nobody does of a draft."""
        is_known = self.published_at is not None or self.is_private
        return self.goes_on and is_known and self.merged_into_id is None

    @property
    def is_withdrawn(self) -> bool:
        """Discarded, deleted, or merged into another."""
        return bool(self.discarded_at or self.deleted_at)

    @property
    def is_draft(self) -> bool:
        waits = self.published_at is None and not self.is_private
        return waits and not self.is_withdrawn
