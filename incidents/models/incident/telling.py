"""What is told of an incident, one update after the other."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from incidents import markdown
from incidents.models.automation import Automation
from incidents.models.search_text import SearchText
from incidents.models.state import State
from incidents.models.story import IncidentUpdate
from incidents.models.timeline import Author, TimelineEntry, name_of, person
from incidents.patience import Patience
from incidents.signals import (
    incident_reopened,
    incident_resolved,
    incident_updated,
)
from monitors.models import Monitor

from .impacts import Impacting
from .queries import GOES_ON

Kind = TimelineEntry.Kind


class Telling(Impacting):
    """Its state and its end follow from the updates that are told."""

    class Meta:
        abstract = True

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
        SearchText.add(self.pk, written)
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
        SearchText.add(self.pk, note)
        self._count_change()
        return note

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
        SearchText.add(self.pk, waits)
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
        self._change_impacts(impacts or {}, at, author)
        self._announce(was, told)

    def _change_impacts(
        self, impacts: Mapping[Monitor, str], at: datetime, author: Author
    ) -> None:
        """Let monitors suffer something else from the moment of an update on."""
        if self.ended_at and at >= self.ended_at:
            return  # nothing is affected any more
        for monitor, level in impacts.items():
            begun = max(at, self.started_at)
            if level:
                self._affect(monitor, level, at=begun, author=author)
            else:
                self._spare(monitor, begun, author)

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
        SearchText.rewrite({self.pk: self.title})

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
        others = type(self).objects.filter(GOES_ON).exclude(pk=self.pk)
        if self.is_umbrella and others.filter(is_umbrella=True).exists():
            self.is_umbrella = False
        of_monitor = others.filter(rule=self.rule_id, monitor=self.monitor_id)
        if self.rule_id and self.monitor_id and of_monitor.exists():
            self.rule = None

    def not_before_newest(self, at: datetime) -> datetime:
        newest = self.updates.order_by("-at").first()
        return max(at, newest.at) if newest else at

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

    def _retitle(
        self, title: str | None, severity: int | None, at: datetime, author: Author
    ) -> None:
        if title is not None and title != self.title:
            was, self.title = self.title, title
            SearchText.rename(self.pk, title)
            self._log_change(Kind.TITLE, was, at=at, author=author)
        if severity is not None and severity != self.severity:
            before, self.severity = self.severity, severity
            self._log_severity(before, at=at, author=author)
