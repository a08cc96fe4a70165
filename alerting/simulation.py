"""What a rule would have done: the past of its monitors, judged by `rules.decide`,
which judges live, too. Nothing is written.

An upper app says by `follow_with` what it would have made of the alerts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from django.db import connection

from monitors.instants import instant, ms
from monitors.models import Monitor, Overlay
from monitors.models.result import Certificate
from monitors.models.status import CODES
from monitors.observing import FAILING

from . import flapping, rules, safeguards
from .models import AlertRule, Decision, FlapDetection

# So much may be asked for at once: it has to be answered within a request.
MOST_MONITOR_DAYS: Final = 1_000
MOST_RESULTS: Final = 400_000
# So many are told one by one, the newest.
MOST_DECISIONS: Final = 500
MOST_TOLD: Final = 1_000
AT_ONCE: Final = 20_000
# So many parts of the time are told apart where it is drawn.
PARTS: Final = 320

_NAMES: Final = {code: name for name, code in CODES.items()}
_DAY: Final = timedelta(days=1)

# A result as the database has it: when, the status as a code, microseconds, and
# whether it is a consequence of a parent's failure.
Row = tuple[int, int, int | None, bool]


class TooMuch(ValueError):
    """More is asked for than a request can replay; the message says what to do."""


@dataclass(slots=True, eq=False)
class SimulatedAlert:
    """An alert that there would have been. `told_at` is when people would have
    heard of it: later than it triggered if a gate held it back, or never."""

    monitor: Monitor
    began_at: datetime
    triggered_at: datetime
    observed: str
    reason: str
    resolved_at: datetime | None = None
    told_at: datetime | None = None


@dataclass(slots=True, eq=False)
class SimulatedIncident:
    """An incident that there would have been."""

    monitor: Monitor
    started_at: datetime
    ended_at: datetime | None


class SimulatedDecision(NamedTuple):
    """Why there would have been no alert or incident, or not that one: the last of
    so many times, and since when it failed."""

    monitor: Monitor
    gate: str
    verdict: str
    reason: str
    at: datetime
    began_at: datetime
    times: int = 1


class Followed(NamedTuple):
    """What an upper app would have made of the alerts."""

    incidents: list[SimulatedIncident]
    decisions: list[SimulatedDecision]


class Sketch:
    """What a monitor did, part by part of the time: the worst status as its code,
    -1 where nothing is known, and the highest latency in milliseconds."""

    __slots__ = ("_begin", "_part", "slowest", "worst")

    def __init__(self, begin: datetime, end: datetime) -> None:
        self._begin, self._part = ms(begin), (ms(end) - ms(begin)) / PARTS
        self.worst = [-1] * PARTS
        self.slowest: list[float | None] = [None] * PARTS

    def add(self, at: int, code: int, latency: float | None) -> None:
        n = min(PARTS - 1, int((at - self._begin) / self._part))
        if code > self.worst[n]:
            self.worst[n] = code
        if latency is not None and latency > (self.slowest[n] or 0.0):
            self.slowest[n] = latency


@dataclass(slots=True)
class Simulated:
    """What came of it. `data_from` is the moment of the oldest result there is."""

    begin: datetime
    end: datetime
    monitors: Sequence[Monitor]
    alerts: list[SimulatedAlert] = field(default_factory=list)
    incidents: list[SimulatedIncident] = field(default_factory=list)
    decisions: list[SimulatedDecision] = field(default_factory=list)
    more_decisions: int = 0
    results: int = 0
    data_from: datetime | None = None
    sketches: dict[int, Sketch] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many there are in all."""
        return {
            "alerts": len(self.alerts),
            "incidents": len(self.incidents),
            "decisions": len(self.decisions) + self.more_decisions,
        }

    @property
    def newest_alerts(self) -> Sequence[SimulatedAlert]:
        return self.alerts[-MOST_TOLD:]

    @property
    def newest_incidents(self) -> Sequence[SimulatedIncident]:
        return self.incidents[-MOST_TOLD:]


Follow = Callable[[AlertRule, Sequence[SimulatedAlert]], Followed]
_followers: list[Follow] = []


def follow_with(follow: Follow) -> Follow:
    """Have this asked what would have become of the alerts of each simulation."""
    _followers.append(follow)
    return follow


def simulate(
    rule: AlertRule,
    monitors: Sequence[Monitor],
    begin: datetime,
    end: datetime,
    *,
    sketched: bool = False,
) -> Simulated:
    """Replay all that is kept of the monitors from … to …, counting from zero.

    The rule need not be saved. Raises RuleInvalid for one that nobody can judge
    by, and TooMuch.
    """
    _refuse_too_much(monitors, begin, end)
    found = Simulated(begin, end, monitors)
    past = _Past.read(monitors, begin, end)
    for monitor in monitors:
        if sketched:
            found.sketches[monitor.pk] = Sketch(begin, end)
        replay = _Replay(rule, monitor, past, found.sketches.get(monitor.pk))
        replay.run(_rows(monitor.pk, ms(begin), ms(end)))
        replay.add_to(found)
    for follow in _followers:
        incidents, decisions = follow(rule, found.alerts)
        found.incidents += incidents
        found.decisions += decisions
    _sort(found)
    return found


def _sort(found: Simulated) -> None:
    """Oldest first; of the decisions, the newest are those that are told."""
    found.alerts.sort(key=lambda alert: alert.triggered_at)
    found.incidents.sort(key=lambda incident: incident.started_at)
    found.decisions.sort(key=lambda decision: decision.at)
    found.more_decisions = max(0, len(found.decisions) - MOST_DECISIONS)
    del found.decisions[: found.more_decisions]


# How much it would be


def _refuse_too_much(
    monitors: Sequence[Monitor], begin: datetime, end: datetime
) -> None:
    days = max(1.0, (end - begin) / _DAY)
    if len(monitors) * days > MOST_MONITOR_DAYS:
        raise TooMuch(
            f"{len(monitors):,} monitors over {days:,.3g} days are more than "
            f"{MOST_MONITOR_DAYS:,} monitor-days. Choose at most "
            f"{_fitting(len(monitors), days)}."
        )
    if _count([m.pk for m in monitors], ms(begin), ms(end)) > MOST_RESULTS:
        raise TooMuch(
            f"There are more than {MOST_RESULTS:,} results to replay. "
            "Choose fewer monitors, or less time."
        )


def _fitting(monitors: int, days: float) -> str:
    most = f"{int(MOST_MONITOR_DAYS / days):,} monitors"
    if monitors > MOST_MONITOR_DAYS:
        return most
    return f"{most}, or {MOST_MONITOR_DAYS // monitors:,} days"


def _count(ids: Sequence[int], begin: int, end: int) -> int:
    """Count the results, but no further than one has to."""
    sql = (
        "SELECT COUNT(*) FROM (SELECT 1 FROM monitors_checkresult "
        f"WHERE monitor_id IN ({', '.join(['%s'] * len(ids))}) "
        "AND checked_at >= %s AND checked_at < %s LIMIT %s) AS found"
    )
    if not ids:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(sql, [*ids, begin, end, MOST_RESULTS + 1])
        (count,) = cursor.fetchone()
    return int(count)


# What there was


_RESULTS: Final = (
    "SELECT checked_at, status, latency_ms, is_consequence "
    "FROM monitors_checkresult WHERE monitor_id = %s "
    "AND checked_at >= %s AND checked_at < %s ORDER BY checked_at LIMIT %s"
)


def _rows(monitor_id: int, begin: int, end: int) -> Iterator[Row]:
    """Read results as plain values: as objects they would cost ten times as much."""
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_RESULTS, [monitor_id, begin, end, AT_ONCE])
            rows = cursor.fetchall()
        yield from rows
        if len(rows) < AT_ONCE:
            return
        begin = rows[-1][0] + 1


@dataclass(slots=True)
class _Past:
    """What is known of the monitors besides their results."""

    limits: flapping.Limits
    escape: timedelta
    holds: dict[int, list[tuple[datetime, datetime | None]]]
    # When a certificate was first seen and when it ends, by time.
    certificates: dict[int, list[tuple[int, datetime]]]

    @classmethod
    def read(
        cls, monitors: Sequence[Monitor], begin: datetime, end: datetime
    ) -> "_Past":
        flaps = FlapDetection.current()
        limits = flapping.Limits(flaps.start_percent, flaps.stop_percent, flaps.is_on)
        past = cls(limits, timedelta(minutes=flaps.escape_minutes), {}, {})
        ids = [monitor.pk for monitor in monitors]
        holding = Overlay.objects.over(begin, end).filter(
            monitor__in=ids, holds_alerts=True
        )
        for pk, start, over in holding.values_list("monitor", "started_at", "ended_at"):
            past.holds.setdefault(pk, []).append((start, over))
        seen = Certificate.objects.filter(monitor__in=ids, seen_at__lt=end)
        for pk, at, ends in seen.order_by("seen_at").values_list(
            "monitor", "seen_at", "expires_at"
        ):
            past.certificates.setdefault(pk, []).append((ms(at), ends))
        return past


# One monitor


# What turns to and fro has few histories, again and again.
_is_flapping = lru_cache(maxsize=8192)(flapping.is_flapping)


class _Flaps:
    """Whether a monitor flaps, and since when it fails, result by result."""

    __slots__ = ("_history", "_last", "_limits", "_same", "failing_since", "is_on")

    def __init__(self, limits: flapping.Limits) -> None:
        self._limits, self._history = limits, 0
        self._last, self._same = "", 0
        self.is_on = False
        self.failing_since: datetime | None = None

    def see(self, at: datetime, status: str) -> None:
        if status in FAILING:
            self.failing_since = self.failing_since or at
        elif status == "up":
            self.failing_since = None
        self._same = self._same + 1 if status == self._last else 1
        self._last = status
        # A history that is all the same stays so: most of the time, nothing is done.
        if self._same > flapping.STATES and not self.is_on:
            return
        self._history = flapping.pushed(self._history, (status,))
        self.is_on = _is_flapping(self._history, self.is_on, self._limits)

    def holds(self, at: datetime, escape: timedelta) -> bool:
        since = self.failing_since
        return self.is_on and (since is None or at - since < escape)

    @property
    def percent(self) -> float:
        return flapping.percent(self._history)


class _Replay:
    """One monitor under the rule, result by result."""

    def __init__(
        self, rule: AlertRule, monitor: Monitor, past: _Past, sketch: Sketch | None
    ) -> None:
        self.monitor = monitor
        self.rule = rule.plain(monitor.degraded_counts)
        self.holds = past.holds.get(monitor.pk, [])
        self.certificates = iter(past.certificates.get(monitor.pk, []))
        self.flaps, self.escape = _Flaps(past.limits), past.escape
        self.sketch = sketch
        self.is_consequence = False
        # The gate that holds the newest alert back, and "?" before any was asked.
        self.withheld = ""
        self.results = 0
        self.first: datetime | None = None
        self.alerts: list[SimulatedAlert] = []
        self.decisions: dict[tuple[str, datetime], SimulatedDecision] = {}

    def run(self, rows: Iterable[Row]) -> None:
        state, results = rules.State(), self._seen(rows)
        while True:
            decided = rules.decide(self.rule, state, results, self.holds)
            for note in decided.notes:
                self._decide(
                    note.gate, note.reason, note.at, note.began_at, times=note.times
                )
            if decided.change is None:
                return
            state = decided.state
            self._turn(decided.change)

    def add_to(self, found: Simulated) -> None:
        found.alerts += self.alerts
        found.decisions += self.decisions.values()
        found.results += self.results
        moments = (at for at in (found.data_from, self.first) if at)
        found.data_from = min(moments, default=None)

    def _seen(self, rows: Iterable[Row]) -> Iterator[rules.Result]:
        """Give each result, and go on where the rule has judged it."""
        certificate = next(self.certificates, None)
        expires_at = None
        for at, code, latency, is_consequence in rows:
            while certificate and certificate[0] <= at:
                expires_at = certificate[1]
                certificate = next(self.certificates, None)
            taken = None if latency is None else latency / 1000
            if self.sketch:
                self.sketch.add(at, code, taken)
            moment, status = instant(at), _NAMES[code]
            self._count(moment)
            self.flaps.see(moment, status)
            self.is_consequence = bool(is_consequence)
            yield rules.Result(self.results, moment, status, taken, "", expires_at)
            if self.withheld:
                self._ask_again(moment)

    def _count(self, at: datetime) -> None:
        self.results += 1
        self.first = self.first or at

    def _turn(self, change: rules.Change) -> None:
        at = change.result.at
        if change.to == rules.RESOLVED:
            self.alerts[-1].resolved_at, self.withheld = at, ""
            return
        alert = SimulatedAlert(
            self.monitor, change.began_at, at, change.observed, change.reason
        )
        self.alerts.append(alert)
        self.withheld = "?"
        self._ask_again(at)

    def _ask_again(self, at: datetime) -> None:
        """Tell of the newest alert, unless a gate holds it back."""
        gate, alert = self._gate(at), self.alerts[-1]
        if not gate:
            alert.told_at = at
        elif gate != self.withheld:
            verdict = Decision.Verdict.WITHHELD
            reason = self._reason(gate)
            self._decide(gate, reason, at, alert.began_at, verdict=verdict)
        self.withheld = gate

    def _gate(self, at: datetime) -> str:
        if self.is_consequence:
            return safeguards.PARENT
        return safeguards.FLAPPING if self.flaps.holds(at, self.escape) else ""

    def _reason(self, gate: str) -> str:
        if gate == safeguards.PARENT:
            return "What it depends on is down"
        return f"Flapping: {self.flaps.percent:.0f} % of its last results changed"

    def _decide(
        self,
        gate: str,
        reason: str,
        at: datetime,
        began_at: datetime,
        *,
        verdict: str = Decision.Verdict.REFUSED,
        times: int = 1,
    ) -> None:
        """Remember a decision; the same again, of the same failing, only counts."""
        before = self.decisions.get((gate, began_at))
        times += before.times if before else 0
        self.decisions[gate, began_at] = SimulatedDecision(
            self.monitor, gate, str(verdict), reason, at, began_at, times
        )
