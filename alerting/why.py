"""Why nothing was opened for a monitor that fails, in sentences."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from django.db.models import Q

from monitors.models import Monitor, Overlay
from monitors.observing import FAILING

from .conditions import RuleInvalid, condition_of
from .models import Alert, AlertRule, Decision, RuleState

# What each gate is called where people read of it.
GATES: Final = {
    "threshold": "Did not last",
    "hold": "Held while failing",
    "maintenance": "Maintenance",
    "parent": "Parent is down",
    "silence": "Silence",
    "flapping": "Flapping",
    "storm": "Storm",
    "quota": "Monthly quota",
    "duplicate": "Incident is open",
    "reopen": "Opened again",
    "cooldown": "Cooldown",
    "breaker": "Too many a day",
    "deleted": "Deleted by hand",
    "discarded": "Draft discarded",
    "draft": "Draft",
    "recovered": "Recovered before",
}


def gate_in_words(gate: str) -> str:
    return GATES.get(gate, gate.replace("_", " ").capitalize())


def why(monitor: Monitor, at: datetime) -> list[str]:
    """Say why nothing is open for a monitor that fails now, in six queries at most.

    One sentence a rule; nothing if it does not fail, or if something is open.
    """
    if not monitor.is_active:
        return []
    alerts = list(Alert.objects.triggered().filter(monitor=monitor))
    if any(alert.incident_number for alert in alerts):
        return []
    states = {s.rule_id: s for s in RuleState.objects.filter(monitor=monitor)}
    seen = monitor.state.raw_status
    if seen not in FAILING and not alerts and not any(map(_counts, states.values())):
        return []
    rules = list(AlertRule.objects.active().watching(monitor))
    if not rules:
        return ["No rule watches it"]
    if held := _held(monitor, at):
        return [held]
    return _by_rule(monitor, rules, states, alerts)


def _counts(state: RuleState) -> bool:
    return state.failures > 0


def _held(monitor: Monitor, at: datetime) -> str:
    """Until when a maintenance, or another hold, keeps alerts from triggering."""
    not_over = Q(ended_at=None) | Q(ended_at__gt=at)
    holding = Overlay.objects.filter(not_over, monitor=monitor, holds_alerts=True)
    ends = list(holding.filter(started_at__lte=at).values_list("ended_at", flat=True))
    if not ends:
        return ""
    last = max((end for end in ends if end), default=None)
    if last is None or None in ends:
        return "Maintenance, which has no end yet"
    return f"Maintenance until {clock(last, at)}"


def clock(then: datetime, at: datetime) -> str:
    """Return "14:30 UTC", with its day if that is another one."""
    then, at = then.astimezone(UTC), at.astimezone(UTC)
    day = "" if then.date() == at.date() else f"{then.day} {then:%b} "
    return f"{day}{then:%H:%M} UTC"


def _by_rule(
    monitor: Monitor,
    rules: Sequence[AlertRule],
    states: dict[int, RuleState],
    alerts: Iterable[Alert],
) -> list[str]:
    by_rule = {alert.rule_id: alert for alert in alerts}
    said = _said(by_rule.values())
    reasons = []
    for rule in rules:
        alert = by_rule.get(rule.pk)
        if alert:
            reason = _of_alert(alert, said.get(alert.pk, {}), len(rules))
        else:
            reason = _of_rule(rule, states.get(rule.pk), monitor.state.raw_status)
        reasons.append(f"{rule.name}: {_small(reason)}" if len(rules) > 1 else reason)
    return reasons


def _small(sentence: str) -> str:
    """Go on with it after a colon; STATUS stays as it is."""
    is_word = sentence[1:2].islower() or sentence[1:2] == " "
    return sentence[:1].lower() + sentence[1:] if is_word else sentence


def _said(alerts: Iterable[Alert]) -> dict[int, dict[str, Decision]]:
    """What gates have said of alerts, by alert and gate; the newest comes last."""
    found: dict[int, dict[str, Decision]] = {}
    asked = Decision.objects.filter(alert__in=[alert.pk for alert in alerts])
    for decision in asked.order_by("last_at", "pk"):
        if decision.alert_id is not None:
            found.setdefault(decision.alert_id, {}).pop(decision.gate, None)
            found[decision.alert_id][decision.gate] = decision
    return found


def _of_alert(alert: Alert, said: dict[str, Decision], rules: int) -> str:
    """Why an alert that has triggered has no incident."""
    if alert.withheld:
        held = said.get(alert.withheld)
        reason = held.reason if held else gate_in_words(alert.withheld)
        return f"Held back: {_small(reason)}"
    if not alert.create_incident:
        return "It only notifies" if rules > 1 else "Its rule only notifies"
    if said:
        return list(said.values())[-1].reason
    return "Its incident is just being opened"


def _of_rule(rule: AlertRule, state: RuleState | None, status: str) -> str:
    """Why a rule has not triggered."""
    if state is None or not state.failures:
        return f"It asks for something else: {rule.when}"
    try:
        is_own = condition_of(rule.plain()).is_own_threshold
    except RuleInvalid as invalid:
        return str(invalid)
    if is_own:
        return f"It is not met yet: {rule.when}"
    if rule.unit == AlertRule.Unit.CHECKS:
        of = f"{state.failures:,} of {rule.failure_threshold:,} times"
        return f"It has failed {of} in a row"
    since = f" since {state.first_failure_at:%H:%M:%S} UTC"
    lasts = f"{rule.failure_threshold:,} seconds"
    return f"It has failed{since if state.first_failure_at else ''}, not yet {lasts}"
