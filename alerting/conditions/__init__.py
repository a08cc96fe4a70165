from functools import lru_cache

from .base import Condition, Result, Rule, RuleInvalid, Streak, Verdict
from .burn_rate import BurnRateCondition
from .certificate import CertificateCondition
from .latency import LatencyCondition
from .status import StatusCondition
from .uptime import UptimeCondition

__all__ = [
    "CONDITIONS",
    "Condition",
    "Result",
    "Rule",
    "RuleInvalid",
    "Streak",
    "Verdict",
    "condition_of",
]

CONDITIONS: dict[str, type[Condition]] = {
    "STATUS": StatusCondition,
    "LATENCY": LatencyCondition,
    "UPTIME": UptimeCondition,
    "CERT_DAYS": CertificateCondition,
    "BURN_RATE": BurnRateCondition,
}


@lru_cache(maxsize=4096)
def condition_of(rule: Rule) -> Condition:
    """Return what the rule asks; raises RuleInvalid for what nobody can judge by."""
    if rule.alert_for not in CONDITIONS:
        raise RuleInvalid(f"There is no rule on {rule.alert_for}.", "alert_for")
    return CONDITIONS[rule.alert_for](rule)
