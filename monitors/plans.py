"""What a worker has to know of a monitor to check it, read once an edit."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.apps import apps

from .schedules import Schedule

if TYPE_CHECKING:
    from .checkers import Checker


@dataclass(frozen=True, slots=True)
class Plan:
    """A monitor as plain values. Lengths are in milliseconds.

    Without a checker, `problem` says why the monitor cannot be checked.
    """

    pk: int
    tag: str
    kind: str
    revision: int
    checker: "Checker | None"
    problem: str
    schedule: Schedule
    timeout: int
    confirmations: int
    retry: int
    parents: tuple[int, ...]

    def next_due(self, after: int, *, is_unconfirmed: bool = False) -> int:
        """Return the next moment to look; sooner while a change is unconfirmed."""
        slot = self.schedule.next(after)
        return min(slot, after + self.retry) if is_unconfirmed else slot

    def holds(self, at: int) -> int:
        """Return until when a result speaks: two intervals and a timeout on."""
        return self.schedule.holds(at) + self.timeout


# What no worker has checked for a while need not stay in memory.
MOST_KNOWN: Final = 20_000
_known: dict[int, Plan] = {}
_lock = threading.Lock()


def plans_of(revisions: Mapping[int, int]) -> dict[int, Plan]:
    """Return the plans of monitors, given the revision at which each now is."""
    with _lock:
        found = {
            pk: plan
            for pk, revision in revisions.items()
            if (plan := _known.get(pk)) and plan.revision == revision
        }
    missing = revisions.keys() - found.keys()
    if missing:
        read = _read(missing)
        found |= read
        with _lock:
            if len(_known) > MOST_KNOWN:
                _known.clear()
            _known.update(read)
    return found


def _read(pks: Iterable[int]) -> dict[int, Plan]:
    every = apps.get_model("monitors", "Monitor")._default_manager
    monitors = every.filter(pk__in=pks).select_related("state")
    return {m.pk: m.plan for m in monitors.prefetch_related("parents")}
