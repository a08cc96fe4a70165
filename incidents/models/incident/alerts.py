"""What alerts do to incidents."""

from datetime import datetime
from typing import Any, Self

from django.db import transaction

from alerting.models import Alert, Decision, Transition
from incidents import words
from incidents.models.automation import Automation, badge_of
from incidents.models.search_text import SearchText
from incidents.models.state import State
from incidents.models.story import Impact, IncidentAlert, IncidentUpdate
from incidents.models.timeline import TimelineEntry
from incidents.signals import (
    incident_published,
    incident_updated,
)

from .drafts import Drafted

Kind = TimelineEntry.Kind


class Alerted(Drafted):
    """It is opened, joined, closed and opened again by alerts."""

    class Meta:
        abstract = True

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
    ) -> Self:
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
    ) -> Self:
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
    ) -> Self:
        incident = cls(
            source=cls.Source.ALERT,
            badge=f"Auto: {badge_of(alert.monitor_kind) or 'Uptime'}",
            started_at=alert.began_at,
            created_at=at,
            **facts,
        )
        incident.save(force_insert=True)
        with incident._logging_at_once():
            incident._log_opening(None)
            incident._take(alert)
            if alert.monitor:
                incident._lay(alert.monitor, Impact.level_of(alert), at=alert.began_at)
            first = incident._write(
                State.INVESTIGATING, said, alert.triggered_at, is_automatic=True
            )
        SearchText.begin(incident.pk, incident.title, said)
        incident._link(alert)
        incident._tell(incident_published, first)
        return incident

    @transaction.atomic
    def resolve_for(self, alert: Alert, transition: Transition) -> bool:
        """Close what an alert opened, unless that is done or others still fail."""
        self._lock()
        at = transition.at
        said = f"Alert resolved: {alert}"
        self._log(Kind.ALERT, said[:500], at=at, alert=alert.pk)
        if not self.goes_on:
            return False
        others = Alert.objects.triggered().filter(incident_links__incident=self.pk)
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
        by_hand = IncidentUpdate.every.filter(incident=self.pk, is_automatic=False)
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
        was, self.started_at = self.started_at, min(self.started_at, alert.began_at)
        self._log_begin(was, at=alert.began_at)
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

    def _take(self, alert: Alert) -> None:
        """Make the alert one of this incident's."""
        IncidentAlert.objects.create(incident_id=self.pk, alert=alert)
        said = f"Alert triggered: {alert}"
        self._log(Kind.ALERT, said, at=alert.triggered_at, alert=alert.pk)
