"""Flap detection as Nagios defines it: pure functions on a packed history.

The history is a number, three bits a status, the newest lowest. Of the last 21
statuses there are 20 changes at most; one weighs from 0.75, the oldest, to 1.25,
the newest, and the percentage is the sum of the weights over 20.
https://assets.nagios.com/downloads/nagioscore/docs/nagioscore/4/en/flapping.html
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

STATES: Final = 21
_BITS: Final = 3
_LAST: Final = (1 << _BITS) - 1
_ALL: Final = (1 << (_BITS * STATES)) - 1
_CODES: Final = {"up": 1, "degraded": 2, "partial": 3, "down": 4}
# Of a change between a status and the one before it, by how old it is; 0 is new.
_WEIGHTS: Final = tuple(1.25 - age * 0.5 / (STATES - 2) for age in range(STATES - 1))


class Limits(NamedTuple):
    """Percent at which flapping begins, and at which it has ended."""

    start: float = 30.0
    stop: float = 20.0
    is_on: bool = True


def pushed(history: int, statuses: Iterable[str]) -> int:
    """Return the history with newer statuses; what is not known is left out."""
    for status in statuses:
        if code := _CODES.get(status):
            history = (history << _BITS | code) & _ALL
    return history


def percent(history: int) -> float:
    """Return how much of the history is change, 0 to 100."""
    total, newer = 0.0, history & _LAST
    for weight in _WEIGHTS:
        history >>= _BITS
        older = history & _LAST
        if not older:
            break
        if older != newer:
            total += weight
        newer = older
    return min(100.0, 100 * total / (STATES - 1))


def is_flapping(history: int, was: bool, limits: Limits) -> bool:
    """Whether it flaps: from the start on, until it stops; between, as it was."""
    if not limits.is_on:
        return False
    value = percent(history)
    return value > limits.stop if was else value >= limits.start
