from typing import Any, Final, NamedTuple

from monitors.instants import ms

from . import windows
from .base import Condition, Result, Rule, RuleInvalid, Verdict, number
from .windows import Span

MINUTE: Final = 60_000
USUAL_MINUTES: Final = 30 * 24 * 60
LEAST_MINUTES: Final = 24 * 60


class Pair(NamedTuple):
    """Two windows, in minutes, and the share of the budget that may go in the long
    one; the short one says whether it is still going on."""

    long: int
    short: int
    share: float


# As the SRE workbook has them, "Alerting on SLOs", 6: 2 % of the budget in an
# hour, 5 % in six hours; the short window is a twelfth of the long one.
PAIRS: Final = (Pair(60, 5, 0.02), Pair(360, 30, 0.05))


class BurnRateCondition(Condition):
    """The error budget of an objective is used up too fast.

    The value is the objective in percent, the window the minutes it is for, 30
    days unless given. The burn rate is the share of bad results over the share
    that the objective allows: at 1, the budget lasts exactly for the window. A
    pair whose long window is not full yet says nothing.
    """

    uses_window = True

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule)
        self.target = number(rule, least=1, most=99.999, what="a percentage")
        minutes = rule.window_minutes or USUAL_MINUTES
        if minutes < LEAST_MINUTES:
            text = f"Give at least {LEAST_MINUTES:,} minutes, or 0 for 30 days."
            raise RuleInvalid(text, "window_minutes")
        self.days = minutes / (24 * 60)
        self._halves = windows.HALVES[rule.degraded]
        self.rates = [pair.share * minutes / pair.long for pair in PAIRS]

    def judge(self, result: Result, window: Any, is_triggered: bool) -> Verdict:
        halves = self._halves.get(result.status)
        if halves is None:
            return Verdict.SILENT
        at = ms(result.at)
        for span in window:
            span.add(at, halves)
        verdict = Verdict.SILENT
        pairs = zip(window[::2], window[1::2], self.rates, strict=True)
        for long, short, rate in pairs:
            # One bad result of a handful is no rate yet.
            if not long.is_full(at):
                continue
            if self._burn(long) >= rate and self._burn(short) >= rate:
                return Verdict.FAILS
            verdict = Verdict.PASSES
        return verdict

    def observed(self, result: Result, window: Any) -> str:
        fast, slow = self._burn(window[0]), self._burn(window[2])
        return f"{fast:.1f} times in 1 h, {slow:.1f} in 6 h"

    def words(self) -> str:
        return f"BURN_RATE of {self.target:g} % over {self.days:g} days"

    def recall(self, kept: bytes) -> tuple[Span, ...]:
        spans = tuple(
            Span(minutes * MINUTE) for p in PAIRS for minutes in (p.long, p.short)
        )
        windows.read(spans, kept)
        return spans

    def keep(self, window: Any) -> bytes:
        return windows.written(window)

    def _burn(self, span: Span) -> float:
        return (1 - span.share) / (1 - self.target / 100)
