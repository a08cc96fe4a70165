from datetime import timedelta
from typing import Any, Final

from .base import Condition, Result, Rule, Verdict, counted, number

DAY: Final = timedelta(days=1)


class CertificateCondition(Condition):
    """The certificate ends in fewer days than the value. Others are not asked."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule)
        self.days = number(rule, least=1, most=1000, what="a number of days")

    def judge(self, result: Result, window: Any, is_triggered: bool) -> Verdict:
        if result.expires_at is None:
            return Verdict.SILENT
        is_near = result.expires_at - result.at < self.days * DAY
        return Verdict.FAILS if is_near else Verdict.PASSES

    def observed(self, result: Result, window: Any) -> str:
        if result.expires_at is None:
            return "no certificate"
        left = result.expires_at - result.at
        if left < timedelta(0):
            return "expired"
        return counted(left // DAY, "day")

    def words(self) -> str:
        return f"CERT_DAYS below {self.days:g}"
