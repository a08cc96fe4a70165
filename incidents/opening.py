"""From an alert to its incident: what the gates have to know, what comes of it.

The gates themselves are in `safeguards`. Whatever they say is written down as a
Decision; a refusal is also a row that is due again when its reason ends.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import IntegrityError, transaction
from django.db.models import Q

from alerting.models import Alert, Decision
from monitors.models import Monitor, MonitorState

from . import safeguards, telling
from .models import Automation, Incident, IncidentAlert, Refused
from .models.incident import GOES_ON
from .safeguards import A_DAY, STORM_WITHIN, PastIncident, Verdict

# More of them than a breaker may allow in a day.
MOST_PAST: Final = 1100


@dataclass(slots=True)
class Case:
    """An alert that asks for an incident, with what the gates look at."""

    alert: Alert
    at: datetime
    settings: Automation
    severity: int
    # The newest first: those of its monitor, and the umbrella that is open.
    incidents: list[Incident]

    @classmethod
    def of(cls, alert: Alert, at: datetime) -> "Case":
        settings = Automation.current()
        severity = settings.severity_of(alert, alert.rule, alert.monitor)
        return cls(alert, at, settings, severity, _incidents(alert, at))

    @property
    def umbrella(self) -> Incident | None:
        return next((i for i in self.incidents if i.is_umbrella and i.goes_on), None)

    @property
    def past(self) -> list[PastIncident]:
        """The earlier ones of the same rule and monitor."""
        return [past_of(i) for i in self.incidents if self.is_same(i)]

    def is_same(self, incident: Incident) -> bool:
        of_rule = incident.rule_id == self.alert.rule_id is not None
        return of_rule and incident.monitor_id == self.alert.monitor_id is not None

    @property
    def of_monitor(self) -> list[datetime]:
        """When its monitor's automatic incidents were opened."""
        of = self.alert.monitor_id
        return [i.created_at for i in self.incidents if of and i.monitor_id == of]

    def note(self, gate: str, reason: str, verdict: str) -> None:
        Decision.note(self.alert, gate, reason, at=self.at, verdict=verdict)


def _incidents(alert: Alert, at: datetime) -> list[Incident]:
    """Load what was opened, ended or withdrawn within a day, or goes on.

    No window, cooldown or breaker looks further back than a day.
    """
    took_over = Incident.objects.exclude(merged_into=None).values("merged_into")
    wanted = GOES_ON & (Q(is_umbrella=True) | Q(pk__in=took_over))
    if alert.monitor_id is not None:
        since = min(alert.began_at, at) - A_DAY
        moments = ("created_at", "ended_at", "discarded_at", "deleted_at")
        recent = Q(ended_at=None)
        for moment in moments:
            recent |= Q(**{f"{moment}__gte": since})
        wanted |= Q(monitor=alert.monitor_id) & recent
    return list(Incident.objects.filter(wanted).order_by("-pk")[:MOST_PAST])


def past_of(incident: Incident) -> PastIncident:
    """What the gates see of an incident."""
    withdrawn_at = incident.discarded_at or incident.deleted_at
    return PastIncident(
        began_at=incident.started_at,
        ended_at=incident.ended_at or withdrawn_at,
        is_withdrawn=withdrawn_at is not None,
        pk=incident.pk,
    )


# The two ways in


@transaction.atomic(savepoint=False)
def consider(alert: Alert, *, at: datetime) -> None:
    """Open, join or reopen the incident of an alert, or remember why not.

    Doing it again changes nothing: an alert has one incident.
    """
    locked = _locked(alert.pk)
    if locked is None or hasattr(locked, "incident_links"):
        return
    if hasattr(locked, "refused"):
        return  # the sweep goes on with it
    case, refusal = _judge(locked, at)
    if refusal:
        _refuse(case, refusal, None)


@transaction.atomic
def look_again(refused: Refused, *, at: datetime) -> None:
    """Judge once more what was refused, while its alert stays triggered."""
    due = Refused.objects.filter(pk=refused.pk, due_at__lte=at)
    before = due.select_for_update(no_key=True).first()
    if before is None:
        return  # another worker got there first
    alert = _locked(before.pk)
    if alert is None or alert.state != Alert.State.TRIGGERED:
        before.delete()
    elif alert.withheld:
        _postpone(before, at + Refused.LOOK_AGAIN_AFTER)
    else:
        _judge_again(alert, before, at)


def _judge_again(alert: Alert, before: Refused, at: datetime) -> None:
    if hasattr(alert, "incident_links"):
        before.delete()
        return
    case, refusal = _judge(alert, at)
    if refusal:
        _refuse(case, refusal, before)
    else:
        before.delete()


def _locked(pk: int) -> Alert | None:
    """Hold the alert, so that it does not resolve before its incident is there."""
    alerts = Alert.objects.select_for_update(of=("self",), no_key=True)
    related = ("rule", "monitor", "incident_links", "refused")
    return alerts.select_related(*related).filter(pk=pk).first()


def _has_one(alert: Alert) -> bool:
    return IncidentAlert.objects.filter(alert=alert).exists()


# What comes of it


def _judge(alert: Alert, at: datetime) -> tuple[Case, Verdict | None]:
    """Do as the gates say; return the refusal, if there is one."""
    case = Case.of(alert, at)
    try:
        with transaction.atomic():
            return case, _decide(case)
    except IntegrityError:
        # Somebody was faster by a moment: look at what is there now.
        case = Case.of(alert, at)
        return case, None if _has_one(alert) else _decide(case)


def _decide(case: Case) -> Verdict | None:
    if _gather(case) or _rejoin(case):
        return None
    verdict = _over_quota(case) or safeguards.judge(
        case.past,
        case.alert.began_at,
        case.at,
        case.settings.limits(case.alert.rule),
    )
    if verdict.is_refused:
        return verdict
    if not _reopen(case, verdict):
        _open(case)
    return None


def _gather(case: Case) -> bool:
    """Let the alert join the storm it belongs to, or begin one."""
    if not case.settings.gathers_storms:
        return False
    umbrella = case.umbrella
    if umbrella is None:
        return _begin_storm(case)
    if not (_belongs(case, umbrella) or _count_failing(case)):
        return False
    if not umbrella.join(case.alert, severity=case.severity):
        return False
    _note_storm(case, umbrella)
    return True


def _belongs(case: Case, umbrella: Incident) -> bool:
    """Whether it began with the storm, or its rule and monitor are in it already."""
    newest = umbrella.newest_join_at or umbrella.started_at
    if safeguards.joins(newest, case.alert.began_at):
        return True
    return _tells_of(umbrella, case.alert)


def _tells_of(incident: Incident, alert: Alert) -> bool:
    """Whether it has, or had, an alert of the same rule and monitor."""
    same = {"alert__rule": alert.rule_id, "alert__monitor": alert.monitor_id}
    return None not in same.values() and incident.alert_links.filter(**same).exists()


def _begin_storm(case: Case) -> bool:
    failing = _count_failing(case)
    if not failing:
        return False
    umbrella = Incident.open_umbrella(
        case.alert,
        at=case.at,
        severity=case.severity,
        publish_at=case.settings.storm_publish_at(case.at),
    )
    telling.storm(umbrella, failing, case.settings)
    _note_storm(case, umbrella)
    return True


def _rejoin(case: Case) -> bool:
    """Let it join what tells of its rule and monitor since two became one."""
    for incident in case.incidents:
        took_over = incident.goes_on and not case.is_same(incident)
        if not (took_over and _tells_of(incident, case.alert)):
            continue
        if incident.join(case.alert, severity=case.severity):
            reason = f"It is told of by the incident {incident.pk}, as it was before."
            case.note("duplicate", reason, Decision.Verdict.JOINED)
            return True
    return False


def _note_storm(case: Case, umbrella: Incident) -> None:
    telling.storm_to_owner(umbrella, case.alert.monitor)
    reason = (
        f"Many monitors began to fail within a minute; it is told of by the incident "
        f"{umbrella.title!r}."
    )
    case.note("storm", reason, Decision.Verdict.JOINED)


def _count_failing(case: Case) -> int:
    """Return how many monitors began to fail about then, if that is a storm."""
    began, settings = case.alert.began_at, case.settings
    failing = MonitorState.objects.filter(
        failing_since__gte=began - STORM_WITHIN,
        failing_since__lte=began + STORM_WITHIN,
    ).count()
    # Mostly there is no storm, and how many are active need not be counted.
    if failing < settings.storm_at_least:
        return 0
    limits = {"at_least": settings.storm_at_least, "percent": settings.storm_percent}
    active = Monitor.objects.active().count()
    return failing if safeguards.is_storm(failing, active, **limits) else 0


def _over_quota(case: Case) -> Verdict | None:
    limit = case.settings.monthly_quota
    if limit is None:
        return None
    first, _ = safeguards.month_of(case.at)
    opened = Incident.objects.automatic().filter(created_at__gte=first).count()
    return safeguards.quota(opened, limit, case.at)


def _reopen(case: Case, verdict: Verdict) -> bool:
    if verdict.of is None:
        return False
    last = next(i for i in case.incidents if i.pk == verdict.of.pk)
    if not last.reopen_with(case.alert, at=case.alert.triggered_at):
        return False
    case.note(verdict.gate, verdict.reason, Decision.Verdict.REOPENED)
    return True


def _open(case: Case) -> None:
    """Open the incident, as a draft if it is to be one."""
    settings, alert, at = case.settings, case.alert, case.at
    has_tripped = safeguards.trips(case.of_monitor, at, settings.breaker_a_day)
    is_draft = has_tripped or settings.makes_draft(alert, alert.monitor)
    incident = Incident.open_for(
        alert,
        at=at,
        severity=case.severity,
        is_draft=is_draft,
        publish_at=None if has_tripped else settings.publish_at(case.severity, at),
        settings=settings,
    )
    if has_tripped:
        _note_breaker(case, incident)
    elif is_draft:
        reason = (
            "Its incident is a draft, which nobody outside sees until it is public."
        )
        case.note("draft", reason, Decision.Verdict.DRAFTED)
        telling.draft(incident, settings)


def _note_breaker(case: Case, incident: Incident) -> None:
    reason = (
        f"Its monitor has had {case.settings.breaker_a_day} automatic incidents in 24 "
        "hours; this one is a draft that waits for a person."
    )
    case.note("breaker", reason, Decision.Verdict.DRAFTED)
    telling.breaker(incident, case.alert.monitor, case.settings, at=case.at)


def _refuse(case: Case, verdict: Verdict, before: Refused | None) -> None:
    """Remember the refusal; the same reason again is not said again."""
    if _has_one(case.alert):
        return  # the duplicate is its own, made a moment ago
    if before is None or before.gate != verdict.gate:
        case.note(verdict.gate, verdict.reason, Decision.Verdict.REFUSED)
    attempts = before.attempts + 1 if before else 1
    Refused.remember(
        case.alert,
        gate=verdict.gate,
        reason=verdict.reason,
        due_at=verdict.until or case.at + Refused.LOOK_AGAIN_AFTER,
        attempts=attempts,
    )
    if verdict.gate == "quota":
        telling.quota(case.settings, at=case.at)


def _postpone(refused: Refused, due_at: datetime) -> None:
    Refused.objects.filter(pk=refused.pk).update(due_at=due_at)
