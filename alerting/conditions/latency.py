import math
from bisect import bisect_left, insort
from typing import Any, Final

from monitors import varints
from monitors.instants import ms

from .base import UNKNOWN, Condition, Result, Rule, RuleInvalid, Verdict, number

# So many results are remembered of a window: an hour of checks every five seconds.
MOST_SAMPLES: Final = 720
MOST_MINUTES: Final = 24 * 60
_SHARE: Final = 0.95
# What is down or unknown has no latency that says how fast it is.
_UNTOLD: Final = UNKNOWN | {"down"}


class LatencyCondition(Condition):
    """The latency lies over the value, in milliseconds.

    Of each result, or the 95th percentile (nearest rank) of those in the
    minutes before it. Exactly the value is neither good nor bad.
    """

    uses_window = True

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule)
        self.most = number(rule, least=0.001, most=1_800_000, what="milliseconds")
        if rule.window_minutes > MOST_MINUTES:
            text = f"Give at most {MOST_MINUTES:,} minutes for a latency."
            raise RuleInvalid(text, "window_minutes")
        self.length = rule.window_minutes * 60_000

    def judge(self, result: Result, window: Any, is_triggered: bool) -> Verdict:
        latency = result.latency_ms
        if latency is None or result.status in _UNTOLD:
            return Verdict.SILENT
        if window is not None:
            window.add(ms(result.at), latency, self.length)
            latency = window.quantile(_SHARE)
        if latency == self.most:
            return Verdict.NEITHER
        return Verdict.FAILS if latency > self.most else Verdict.PASSES

    def observed(self, result: Result, window: Any) -> str:
        if window is None:
            return f"{result.latency_ms or 0:,.0f} ms"
        return f"p95 {window.quantile(_SHARE):,.0f} ms"

    def words(self) -> str:
        if not self.length:
            return f"LATENCY over {self.most:,g} ms"
        minutes = self.rule.window_minutes
        return f"LATENCY (p95 of {minutes:,} min) over {self.most:,g} ms"

    def recall(self, kept: bytes) -> Any:
        return Samples.read(kept) if self.length else None

    def keep(self, window: Any) -> bytes:
        return b"" if window is None else window.written()


class Samples:
    """Latencies with their moments in milliseconds, and the same in order of size."""

    __slots__ = ("_at", "_latencies", "_sorted")

    def __init__(self) -> None:
        self._at: list[int] = []
        self._latencies: list[float] = []
        self._sorted: list[float] = []

    def add(self, at: int, latency: float, length: int) -> None:
        """Add one; forget those that came so many milliseconds before, or earlier."""
        # To the microsecond, as it is written: it must not matter when that is.
        latency = int(latency * 1000) / 1000
        self._at.append(at)
        self._latencies.append(latency)
        insort(self._sorted, latency)
        old = max(0, len(self._at) - MOST_SAMPLES)
        while old < len(self._at) - 1 and self._at[old] <= at - length:
            old += 1
        for gone in self._latencies[:old]:
            del self._sorted[bisect_left(self._sorted, gone)]
        if old:
            del self._at[:old], self._latencies[:old]

    def quantile(self, share: float) -> float:
        if not self._sorted:
            return 0.0
        return self._sorted[math.ceil(share * len(self._sorted)) - 1]

    def written(self) -> bytes:
        """Moments as their distances, zigzag, since clocks may go back."""
        numbers, before = [], 0
        for at, latency in zip(self._at, self._latencies, strict=True):
            step = at - before
            numbers += [step * 2 if step >= 0 else -step * 2 - 1]
            numbers += [round(latency * 1000)]
            before = at
        return varints.to_bytes(numbers)

    @classmethod
    def read(cls, kept: bytes) -> "Samples":
        samples, before = cls(), 0
        numbers = varints.from_bytes(kept)
        for step, latency in zip(numbers[::2], numbers[1::2], strict=True):
            before += step // 2 if step % 2 == 0 else -(step + 1) // 2
            samples._at.append(before)
            samples._latencies.append(latency / 1000)
        samples._sorted = sorted(samples._latencies)
        return samples
