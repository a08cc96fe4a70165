from datetime import datetime
from typing import Any

from monitors.instants import instant, ms

from . import windows
from .base import Condition, Result, Rule, Streak, Verdict, counted, number
from .windows import Span, Tail, Window


class UptimeCondition(Condition):
    """The share of good results lies below the value, in percent.

    The failure threshold is the window in which it has to be too low, and the
    success threshold the one in which it has to be good again; in checks or in
    seconds. A window that is not full yet says nothing. Seconds are counted in
    sixtieths of the window.
    """

    is_own_threshold = True
    forgets = True

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule)
        self.least = number(rule, least=0.001, most=100, what="a percentage") / 100
        self._halves = windows.HALVES[rule.degraded]

    def judge(self, result: Result, window: Any, is_triggered: bool) -> Verdict:
        halves = self._halves.get(result.status)
        if halves is None:
            return Verdict.SILENT
        failing, passing = window
        at = ms(result.at)
        failing.add(at, halves)
        passing.add(at, halves)
        fails = _is_full(failing, at) and failing.share < self.least
        passes = _is_full(passing, at) and passing.share >= self.least
        if passes and (is_triggered or not fails):
            return Verdict.PASSES
        return Verdict.FAILS if fails else Verdict.NEITHER

    def observed(self, result: Result, window: Any) -> str:
        return f"{100 * window[0].share:.2f} %"

    def words(self) -> str:
        return f"UPTIME below {100 * self.least:g} %"

    def recall(self, kept: bytes) -> tuple[Window, Window]:
        rule = self.rule
        pair = (
            self._window(rule.failure_threshold),
            self._window(rule.success_threshold),
        )
        windows.read(pair, kept)
        return pair

    def keep(self, window: Any) -> bytes:
        return windows.written(window)

    def began(self, window: Any) -> datetime | None:
        first = window[0].first_bad
        return None if first is None else instant(first)

    def failed(self, streak: Streak, result: Result) -> str:
        return f"too low over {self._long(self.rule.failure_threshold)}"

    def recovered(self, streak: Streak, result: Result) -> str:
        return f"high enough over {self._long(self.rule.success_threshold)}"

    def _window(self, threshold: int) -> Window:
        return Tail(threshold) if self._by_checks else Span(threshold * 1000)

    def _long(self, threshold: int) -> str:
        return counted(threshold, "check" if self._by_checks else "second")

    @property
    def _by_checks(self) -> bool:
        return self.rule.unit == "CHECKS"


def _is_full(window: Window, at: int) -> bool:
    return window.is_full if isinstance(window, Tail) else window.is_full(at)
