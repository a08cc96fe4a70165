"""What would have become of the alerts of a rule that is tried on the past: the
same gates as live. Those that look at everything there is, such as storms and
the quota of the month, are not asked.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby

from alerting.models import AlertRule
from alerting.simulation import (
    Followed,
    SimulatedAlert,
    SimulatedDecision,
    SimulatedIncident,
    follow_with,
)

from . import safeguards
from .models import Automation
from .safeguards import Limits, PastIncident, Verdict


@follow_with
def incidents_of(rule: AlertRule, alerts: Sequence[SimulatedAlert]) -> Followed:
    """Open, reopen or refuse the incidents of a rule, which need not be saved."""
    followed = Followed([], [])
    if not rule.create_incident:
        return followed
    limits = Automation.current().limits(rule)
    for _, of_monitor in groupby(alerts, key=lambda alert: alert.monitor.pk):
        found = _Story(limits)
        found.tell(of_monitor)
        followed.incidents.extend(found.incidents)
        followed.decisions.extend(found.decisions)
    return followed


class _Story:
    """The incidents of one monitor, one after the other."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.incidents: list[SimulatedIncident] = []
        self.decisions: list[SimulatedDecision] = []

    def tell(self, alerts: Iterable[SimulatedAlert]) -> None:
        for alert in alerts:
            if alert.told_at is not None:
                self._take(alert, alert.told_at)

    def _take(self, alert: SimulatedAlert, at: datetime) -> None:
        verdict = safeguards.judge(self._past(), alert.began_at, at, self.limits)
        if verdict.verdict != safeguards.OPENED:
            self._note(alert, verdict, at)
        if verdict.is_refused:
            self._wait(alert, verdict.until)
        elif verdict.of is not None:
            self.incidents[-1].ended_at = alert.resolved_at
        else:
            self.incidents.append(
                SimulatedIncident(alert.monitor, alert.began_at, alert.resolved_at)
            )

    def _wait(self, alert: SimulatedAlert, until: datetime | None) -> None:
        """Ask again at the end of what refused, if it fails still."""
        over = alert.resolved_at
        if until is not None and (over is None or until < over):
            self._take(alert, until)

    def _past(self) -> list[PastIncident]:
        return [PastIncident(i.started_at, i.ended_at) for i in self.incidents[-1:]]

    def _note(self, alert: SimulatedAlert, verdict: Verdict, at: datetime) -> None:
        self.decisions.append(
            SimulatedDecision(
                *(alert.monitor, verdict.gate, verdict.verdict, verdict.reason),
                *(at, alert.began_at),
            )
        )
