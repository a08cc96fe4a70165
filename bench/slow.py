"""A channel that takes seconds to answer: what it does to the other ones."""

import argparse
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from . import figures, meters, players
from .stage import stage

if TYPE_CHECKING:
    from alerting.models import AlertRule
    from monitors.models import Monitor
    from outbox.models import Message

    Planned = tuple[float, AlertRule, Monitor]

# In which what is quick has arrived; in seconds.
SETTLE: Final = 3
MIB_IN_MB: Final = 1.048576


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--notices", type=int, default=1000, help="to the slow one")
    parser.add_argument("--seconds", type=int, default=60, help="in which they come")
    parser.add_argument("--delay", type=float, default=2.0, help="seconds it takes")
    parser.add_argument("--others", type=int, default=3, help="channels")
    parser.add_argument(
        "--every", type=float, default=1.0, help="seconds between notices to each"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    longest = players.longest(options.seconds)
    with (
        stage(),
        players.receiver(longest, delay=options.delay) as slow,
        players.receiver(longest) as quick,
    ):
        flood, trickle = _rules(slow, quick, options.others)
        first, *plan = _plan(flood, trickle, options)
        with players.up(players.free_port()) as up:
            # Whoever has delivered nothing yet has much to load.
            _pour([first, (0.0, trickle, first[2])])
            time.sleep(SETTLE + options.delay)
            began = datetime.now(UTC)
            return {
                **_growth(up, plan),
                "slow": _of_slow(_made(flood, began), slow),
                "others": _of_others(_made(trickle, began), quick),
            }


def _growth(up: players.Running, plan: "Iterable[Planned]") -> dict[str, float]:
    """Carry the plan out; return the memory at its end, and by how much it grew."""
    before = _pss_mib(up)
    _pour(plan)
    time.sleep(SETTLE)
    after = _pss_mib(up)
    return {
        "deliveries_pss_mib": round(after, 1),
        "growth_mb": round((after - before) * MIB_IN_MB, 1),
    }


def _rules(
    slow: players.Receiver, quick: players.Receiver, others: int
) -> "tuple[AlertRule, AlertRule]":
    """Make one that tells the slow channel, and one that tells all others."""
    from . import notices

    hook = notices.webhook("Slow", slow.url)
    quicks = [notices.webhook(f"Quick {n}", quick.url) for n in range(others)]
    return notices.tell([], [hook]), notices.tell([], quicks)


def _plan(
    flood: "AlertRule", trickle: "AlertRule", options: argparse.Namespace
) -> "list[Planned]":
    """Which rule alerts of which monitor, after how many seconds; each only once."""
    from . import rows

    rounds = int(options.seconds / options.every)
    each = options.seconds / options.notices
    urls = ["http://127.0.0.1/"] * (max(options.notices, rounds) + 1)
    first, *monitors = rows.make_monitors(urls, 60)
    rows.rest([first, *monitors])
    plan = [(n * each, flood, m) for n, m in enumerate(monitors[: options.notices])]
    plan += [(n * options.every, trickle, m) for n, m in enumerate(monitors[:rounds])]
    return [(0.0, flood, first), *sorted(plan, key=itemgetter(0))]


def _pour(plan: "Iterable[Planned]") -> None:
    """Have each alert come at its moment, in seconds from now."""
    from . import notices

    began = time.monotonic()
    for at, rule, monitor in plan:
        time.sleep(max(0.0, began + at - time.monotonic()))
        notices.alert(rule, monitor)


def _pss_mib(up: players.Running) -> float:
    return sum(map(meters.pss_mib, players.by_role(up.pid)["deliveries"]))


def _made(rule: "AlertRule", began: datetime) -> "list[Message]":
    """What has been made for a rule's channels since a moment, as it is now."""
    from outbox.models import Message

    told = Message.objects.filter(trigger__in=rule.triggers.all())
    return list(told.filter(created_at__gte=began))


def _of_slow(made: "list[Message]", receiver: players.Receiver) -> dict[str, int]:
    waiting = {m.key for m in made if m.state == m.State.QUEUED}
    came = {one.key for one in receiver.arrivals()}
    kept = [m for m in made if str(m.key) in came or m.key in waiting]
    return {
        "notices": len(made),
        "delivered": sum(m.state == m.State.DELIVERED for m in made),
        "waiting": len(waiting),
        "lost": len(made) - len(kept),
    }


def _of_others(made: "list[Message]", receiver: players.Receiver) -> dict[str, Any]:
    came: dict[str, float] = {}
    for one in receiver.arrivals():
        came.setdefault(one.key, one.at)
    due = {str(m.key): m.due_at.timestamp() for m in made}
    delays = [came[key] - at for key, at in due.items() if key in came]
    return {
        "notices": len(delays),
        "missing": len(due) - len(delays),
        **figures.spread("delay", delays),
    }
