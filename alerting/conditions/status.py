from typing import Any, Final

from .base import UNKNOWN, Condition, Result, Rule, RuleInvalid, Verdict

# Which observed statuses fail a rule of each value; exact, as in the peers: a
# rule on DEGRADED does not see DOWN unless it asks for it.
VALUES: Final = {
    "DOWN": frozenset({"down"}),
    "DEGRADED": frozenset({"degraded", "partial"}),
}


class StatusCondition(Condition):
    """The observed status is DOWN, or DEGRADED."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule)
        if rule.alert_value not in VALUES:
            raise RuleInvalid(f"Choose {' or '.join(VALUES)}, not {rule.alert_value}.")
        failing = VALUES[rule.alert_value]
        if rule.includes_worse and rule.alert_value == "DEGRADED":
            failing |= VALUES["DOWN"]
        self._verdicts = {
            **dict.fromkeys(UNKNOWN, Verdict.SILENT),
            **dict.fromkeys(failing, Verdict.FAILS),
            "up": Verdict.PASSES,
        }

    def judge(self, result: Result, window: Any, is_triggered: bool) -> Verdict:
        return self._verdicts.get(result.status, Verdict.NEITHER)

    def observed(self, result: Result, window: Any) -> str:
        return result.status

    def words(self) -> str:
        worse = self.rule.includes_worse and self.rule.alert_value == "DEGRADED"
        return f"STATUS is {self.rule.alert_value}{' or DOWN' if worse else ''}"
