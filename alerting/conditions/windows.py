"""What share was good, over the last checks or over the last seconds.

A result weighs two halves; how many of them are good is what is kept.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from monitors import varints

# Into so many cells a length of time is cut; the oldest leaves as a whole.
CELLS: Final = 60

HALVES: Final = {
    "up": {"up": 2, "degraded": 2, "partial": 2, "down": 0},
    "half": {"up": 2, "degraded": 1, "partial": 1, "down": 0},
    "down": {"up": 2, "degraded": 0, "partial": 0, "down": 0},
}


class Tail:
    """The last results, at most so many, and how good they were."""

    __slots__ = ("_at", "_good", "_length", "_values")

    def __init__(self, length: int) -> None:
        self._length, self._good = length, 0
        self._values: deque[int] = deque()
        self._at: deque[int] = deque()

    @property
    def is_full(self) -> bool:
        return len(self._values) == self._length

    @property
    def share(self) -> float:
        return self._good / (2 * len(self._values)) if self._values else 1.0

    @property
    def first_bad(self) -> int | None:
        pairs = zip(self._values, self._at, strict=True)
        return next((at for value, at in pairs if value < 2), None)

    def add(self, at: int, halves: int) -> None:
        if self.is_full:
            self._good -= self._values.popleft()
            self._at.popleft()
        self._values.append(halves)
        # Only of a run's beginning the moment is kept when it is written.
        begins = len(self._values) == 1 or self._values[-2] != halves
        self._at.append(at if begins else self._at[-1])
        self._good += halves

    def written(self) -> list[int]:
        numbers = []
        pairs = zip(self._values, self._at, strict=True)
        for (halves, at), run in groupby(pairs):
            numbers += [halves, at, sum(1 for _ in run)]
        return [len(numbers) // 3, *numbers]

    def read(self, numbers: Iterator[int]) -> None:
        """Read what was written, also by one of another length."""
        for _ in range(next(numbers, 0)):
            halves, at, count = next(numbers), next(numbers), next(numbers)
            self._values.extend([halves] * count)
            self._at.extend([at] * count)
        for _ in range(len(self._values) - self._length):
            self._values.popleft()
            self._at.popleft()
        self._good = sum(self._values)


class Span:
    """The last milliseconds, in cells, and how good the results in them were."""

    __slots__ = ("_cells", "_good", "_since", "_total", "_width", "length")

    def __init__(self, length: int) -> None:
        self.length = length
        self._width = max(1, length // CELLS)
        self._since, self._good, self._total = 0, 0, 0
        # Number of the cell, good halves, results, first bad one after its begin.
        self._cells: deque[list[int]] = deque()

    def is_full(self, at: int) -> bool:
        """Whether counting began so long ago that nothing of the span is missing."""
        return bool(self._total) and at - self._since >= self.length

    @property
    def share(self) -> float:
        return self._good / (2 * self._total) if self._total else 1.0

    @property
    def first_bad(self) -> int | None:
        bad = (cell for cell in self._cells if cell[3])
        cell = next(bad, None)
        return None if cell is None else cell[0] * self._width + cell[3] - 1

    def add(self, at: int, halves: int) -> None:
        if not self._since:
            self._since = at
        cell, cells = at // self._width, self._cells
        if not cells or cells[-1][0] < cell:
            cells.append([cell, 0, 0, 0])
        newest = cells[-1]
        newest[1] += halves
        newest[2] += 1
        if halves < 2 and not newest[3]:
            newest[3] = max(0, at - newest[0] * self._width) + 1
        self._good, self._total = self._good + halves, self._total + 1
        while cells[0][0] <= newest[0] - self.length // self._width:
            _, good, total, _ = cells.popleft()
            self._good, self._total = self._good - good, self._total - total

    def written(self) -> list[int]:
        numbers, before = [len(self._cells), self._width, self._since], 0
        for number, good, total, bad in self._cells:
            numbers += [number - before, good, total, bad]
            before = number
        return numbers

    def read(self, numbers: Iterator[int]) -> None:
        """Read what was written; cells of another width are of no use."""
        count, width = next(numbers, 0), next(numbers, 0)
        since, before = next(numbers, 0), 0
        for _ in range(count):
            before += next(numbers)
            cell = [before, next(numbers), next(numbers), next(numbers)]
            if width == self._width:
                self._since = since
                self._cells.append(cell)
                self._good, self._total = self._good + cell[1], self._total + cell[2]


Window = Tail | Span


def written(windows: Iterable[Window]) -> bytes:
    return varints.to_bytes(n for window in windows for n in window.written())


def read(windows: Iterable[Window], kept: bytes) -> None:
    numbers = iter(varints.from_bytes(kept))
    for window in windows:
        window.read(numbers)
