"""What an observation does to how a monitor stands: pure, on plain values.

The same functions run live, over pushed results and over history that is read
again. All moments are milliseconds since 1970.
"""

from dataclasses import dataclass
from typing import NamedTuple

from .checkers.base import DEGRADED, DOWN, NO_DATA, PARTIAL, UP
from .plans import Plan

FAILING = frozenset({DEGRADED, PARTIAL, DOWN})
LAPSED = "no result came"


class Seen(NamedTuple):
    """One observation: when, what, and why in words."""

    at: int
    status: str
    reason: str


class Change(NamedTuple):
    """The shown status turns: when, to what, and because of what."""

    at: int
    status: str
    cause: str


@dataclass(slots=True)
class Standing:
    """How a monitor stands after its newest observation."""

    status: str = NO_DATA
    since: int = 0
    raw_status: str = NO_DATA
    unconfirmed: str = ""
    unconfirmed_since: int | None = None
    unconfirmed_count: int = 0
    fresh_until: int | None = None
    checked_at: int | None = None
    failing_since: int | None = None

    @property
    def is_unconfirmed(self) -> bool:
        return self.unconfirmed_count > 0

    def observe(self, seen: Seen, plan: Plan) -> list[Change]:
        """Take the next observation, and return what changes in what is shown."""
        changes = self.lapse(seen.at)
        self.raw_status, self.checked_at = seen.status, seen.at
        self.fresh_until = plan.holds(seen.at)
        if seen.status in FAILING:
            self.failing_since = self.failing_since or seen.at
        elif seen.status == UP:
            self.failing_since = None
        if seen.status == self.status:
            self._forget_unconfirmed()
        elif self._confirms(seen, plan.confirmations):
            since = self.unconfirmed_since or seen.at
            changes.append(self._turn(Change(since, seen.status, seen.reason)))
        return changes

    def lapse(self, at: int) -> list[Change]:
        """Stand for nothing if no observation has come in time before `at`."""
        if self.fresh_until is None or self.fresh_until >= at:
            return []
        end, self.fresh_until = self.fresh_until, None
        return self.stop(end, LAPSED)

    def stop(self, at: int, cause: str) -> list[Change]:
        """Nobody looks from this moment on."""
        self.raw_status, self.failing_since = NO_DATA, None
        self.fresh_until = None
        self._forget_unconfirmed()
        if self.status == NO_DATA:
            return []
        return [self._turn(Change(at, NO_DATA, cause))]

    def _confirms(self, seen: Seen, needed: int) -> bool:
        """Count what differs from what is shown; say whether it is to be shown.

        What another status interrupts goes on counting, but is dated from its
        own first observation. That nobody could look needs no confirmation, and
        neither does being up where nothing was known.
        """
        if self.unconfirmed != seen.status:
            self.unconfirmed, self.unconfirmed_since = seen.status, seen.at
        self.unconfirmed_count += 1
        at_once = seen.status == NO_DATA or (self.status, seen.status) == (NO_DATA, UP)
        return at_once or self.unconfirmed_count >= needed

    def _turn(self, change: Change) -> Change:
        self.status, self.since = change.status, change.at
        self._forget_unconfirmed()
        return change

    def _forget_unconfirmed(self) -> None:
        self.unconfirmed, self.unconfirmed_since = "", None
        self.unconfirmed_count = 0
