"""How long an open incident may go without news; pure functions of plain values."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple


class Patience(NamedTuple):
    """After which silence its owner is asked for news, and asked again."""

    after: timedelta | None = None
    again_after: timedelta | None = None

    @classmethod
    def of_minutes(cls, after: int | None, again_after: int | None) -> "Patience":
        lengths = (m and timedelta(minutes=m) for m in (after, again_after))
        return cls(*(length or None for length in lengths))

    def ends(
        self, since: datetime, promised_at: datetime | None = None
    ) -> Sequence[datetime]:
        """Return the moments at which the owner is asked, if there is no news before.

        What is promised is waited for, and then there is no patience left.
        """
        if self.after is None:
            return ()
        first = promised_at or since + self.after
        if self.again_after is None:
            return (first,)
        again = (promised_at or since) + self.again_after
        return (first, again) if again > first else (first,)

    def next_end(
        self, since: datetime, promised_at: datetime | None = None, nags: int = 0
    ) -> datetime | None:
        """Return when the owner is asked who has been asked so often already."""
        ends = self.ends(since, promised_at)
        return ends[nags] if nags < len(ends) else None
