"""Distributions in a few dozen bytes that can be merged without loss.

Counts in buckets that grow by a constant factor, as in "DDSketch: a fast and
fully-mergeable quantile sketch with relative-error guarantees" (Masson, Rim
and Lee, 2019). Any quantile is within 1.5 % of a value that was added.
"""

import math
from collections.abc import Iterable
from typing import Final

from . import varints

GAMMA: Final = 1.03
ERROR: Final = (GAMMA - 1) / (GAMMA + 1)  # 0.0148
# What is less than this is counted as this.
LEAST: Final = 0.01
_LOG: Final = math.log(GAMMA)


class Sketch:
    """Values not below zero, such as milliseconds."""

    __slots__ = ("counts",)

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.counts: dict[int, int] = {}
        for value in values:
            self.add(value)

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sketch) and self.counts == other.counts

    __hash__ = None  # type: ignore[assignment]

    def add(self, value: float) -> None:
        index = math.ceil(math.log(max(value, LEAST)) / _LOG)
        self.counts[index] = self.counts.get(index, 0) + 1

    def merge(self, other: "Sketch") -> None:
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count

    def quantile(self, q: float) -> float:
        """Return the value below which a share `q` lies. Raises if there is none."""
        if not self.counts:
            raise ValueError("An empty distribution has no quantiles.")
        rank, seen = q * (len(self) - 1), 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen > rank:
                break
        return 2 * GAMMA**index / (GAMMA + 1)

    def to_bytes(self) -> bytes:
        """Pairs of step to the next index and count."""
        numbers, last = [], _LOWEST
        for index in sorted(self.counts):
            numbers += [index - last, self.counts[index]]
            last = index
        return varints.to_bytes(numbers)

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> "Sketch":
        sketch, numbers, last = cls(), varints.from_bytes(data), _LOWEST
        for step, count in zip(numbers[::2], numbers[1::2], strict=True):
            last += step
            sketch.counts[last] = count
        return sketch


_LOWEST: Final = math.ceil(math.log(LEAST) / _LOG)
