"""Webhooks that tell of alerts: whom they go to, and how long they took.

To be imported within a stage only, when Django is set up.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

from django.utils import timezone

from alerting import rules
from alerting.models import Alert, AlertRule
from incidents.models import Automation
from monitors.models import CheckResult, Monitor
from outbox.models import Trigger
from statuspages.models import StatusPage

from . import rows
from .players import Receiver
from .receiver import Arrival

LOOK_EVERY: Final = 0.05
STATES: Final[dict[str, str]] = {
    "triggered": Alert.State.TRIGGERED.value,
    "resolved": Alert.State.RESOLVED.value,
}


class Key(NamedTuple):
    """What a notice tells of."""

    tag: str
    state: str


# Before a run


def webhook(name: str, url: str) -> Trigger:
    config: Any = {"url": url}
    trigger = Trigger(name=name, kind="webhook", config=config)
    trigger.full_clean()
    trigger.save()
    return trigger


def tell(
    monitors: Sequence[Monitor],
    triggers: Iterable[Trigger],
    *,
    incidents: bool = False,
) -> AlertRule:
    """Have one rule tell of each change of these at once."""
    once = {"failure_threshold": 1, "success_threshold": 1}
    rule = rows.watch(list(monitors), create_incident=incidents, **once)
    rule.triggers.set(triggers)
    return rule


def gather_no_storms() -> None:
    """Have each monitor open an incident of its own, however many fail at once."""
    automation = Automation.current()
    automation.gathers_storms = False
    automation.save()


# During it


def alert(rule: AlertRule, monitor: Monitor) -> None:
    """Have a rule trigger, as if a check had just found a monitor down."""
    now = timezone.now()
    failure = rules.Result(1, now, "down", error="Status 500")
    change = rules.Change(rules.TRIGGERED, failure, now, "1 failing check")
    Alert.trigger(rule, monitor, change)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition, for at most so many seconds; False if time ran out."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(LOOK_EVERY)
    return True


def have_come(receiver: Receiver, keys: Collection[Key], seconds: float) -> bool:
    """Wait for these notices."""
    return until(lambda: arrived(receiver.arrivals()).keys() >= set(keys), seconds)


def arrived(arrivals: Iterable[Arrival]) -> dict[Key, float]:
    """When each notice came for the first time."""
    found: dict[Key, float] = {}
    for one in arrivals:
        found.setdefault(Key(one.tag, one.state), one.at)
    return found


# After it


def decided(monitors: Collection[Monitor]) -> dict[Key, float]:
    """When the check ended that first found each down, and then the one that found
    it up again, in seconds since 1970."""
    found: dict[Key, float] = {}
    results = CheckResult.objects.filter(monitor__in=monitors).order_by("checked_at")
    for tag, at, took, status in results.values_list(
        "monitor__tag", "checked_at", "latency_ms", "status"
    ):
        state = STATES["triggered" if status == "down" else "resolved"]
        if status == "down" or Key(tag, STATES["triggered"]) in found:
            found.setdefault(Key(tag, state), at.timestamp() + (took or 0) / 1000)
    return found


def of_state(found: dict[Key, float], name: str) -> dict[Key, float]:
    """Those by the name that the state has as a field."""
    return {key: at for key, at in found.items() if key.state == STATES[name]}


def lags(ends: dict[Key, float], came: dict[Key, float]) -> list[float]:
    """Seconds from the end of each check to the notice that it has led to."""
    return [came[key] - end for key, end in ends.items() if key in came]


def show_nothing() -> None:
    """Leave the public page empty: to draw it is measured by `bars`."""
    StatusPage.objects.update_or_create(is_default=True, defaults={"shows_all": False})
