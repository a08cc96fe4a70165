"""How Tocsin itself is doing: what the admin's page of the engine says."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk, plots
from access.plots import Plot, Values
from egress.kinds import ConfigInvalid
from monitors import gauges
from monitors.checkers.tocsin import TocsinChecker
from monitors.models import Monitor
from monitors.vitals import WINDOW, Tally, quantile, rows, whole_until

SHOWN: Final = timedelta(hours=3)
MINUTE: Final = timedelta(minutes=1)
MINUTES: Final = SHOWN // MINUTE
MOST_WORKERS: Final = 30

# What is wrong if a gauge is over its limit.
TROUBLES: Final = {
    "lateness_p95_ms": "Checks start late",
    "oldest_due_monitor_seconds": "Monitors wait for a worker",
    "oldest_unannounced_transition_seconds": "Changes of alerts wait to be announced",
    "oldest_unsent_message_seconds": "Messages wait to be sent",
}


class Figure(NamedTuple):
    """A gauge in large, with its limit; `look` is set if it is over that."""

    value: str
    words: str
    limit: str = ""
    look: str = ""
    where: str = ""


class Per(NamedTuple):
    """The time over which checks are counted, where a number is to be read."""

    time: str
    seconds: int

    def said(self, a_second: float) -> str:
        return gauges.said(a_second * self.seconds)

    @property
    def words(self) -> str:
        return f"checks a {self.time}"


class Minute(NamedTuple):
    """What all workers did in one minute, as the table says it."""

    at: datetime
    checks: str
    lateness: tuple[str, str]
    flushes: tuple[str, str]


@dataclass(slots=True)
class Worker:
    """One process that checks, by what it wrote last."""

    name: str
    at: datetime
    tally: Tally
    checks: int = 0

    @property
    def lateness(self) -> str:
        return milliseconds(quantile(self.tally.lateness, 0.95))


@dataclass(slots=True)
class EnginePage:
    headline: str
    lede: str
    figures: list[Figure]
    limits: SafeString
    per: Per
    plots: list[Plot] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    others: int = 0
    minutes: list[Minute] = field(default_factory=list)


def look(now: datetime) -> EnginePage:
    """Read it all in half a dozen statements, however much is checked."""
    end = whole_until(now)
    begin = end - SHOWN
    tallies, workers = read_minutes(begin, end, now)
    found = gauges.read()
    watch, checker = watching()
    exceeded, per = checker.exceeded(found), per_time(tallies)
    return EnginePage(
        headline=headline(found, exceeded),
        lede=lede(found, exceeded, running(workers, end), per),
        figures=figures(found, checker, exceeded, per),
        limits=whose_limits(watch),
        per=per,
        plots=draw(tallies, begin, end, checker, per) if any(tallies) else [],
        workers=workers[:MOST_WORKERS],
        others=max(0, len(workers) - MOST_WORKERS),
        minutes=as_table(tallies, begin, per),
    )


# Reading


def read_minutes(
    begin: datetime, end: datetime, now: datetime
) -> tuple[list[Tally | None], list[Worker]]:
    """Return what was done in each minute, and every worker, the newest first."""
    tallies: list[Tally | None] = [None] * MINUTES
    workers: dict[str, Worker] = {}
    # What has been written of the minutes that still run says who is there.
    for name, at, tally in rows(begin, now):
        worker = workers.setdefault(name, Worker(name, at, tally))
        worker.at, worker.tally = at, tally
        worker.checks += tally.checks
        if at < end:
            n = (at - begin) // MINUTE
            sum_ = tallies[n] = tallies[n] or Tally()
            sum_.add(tally)
    return tallies, sorted(workers.values(), key=lambda w: (w.at, w.name), reverse=True)


def running(workers: Sequence[Worker], end: datetime) -> int:
    """How many workers have checked anything since the gauges begin to look."""
    return sum(worker.at >= end - WINDOW for worker in workers)


def watching() -> tuple[Monitor | None, TocsinChecker]:
    """The monitor that watches Tocsin itself, if there is one, and its limits."""
    watch = Monitor.objects.active().filter(kind="tocsin").order_by("pk").first()
    try:
        checker = watch.checker if watch else None
    except ConfigInvalid:
        checker = None
    return watch, checker if isinstance(checker, TocsinChecker) else TocsinChecker()


# In words and figures


def headline(found: Mapping[str, float], exceeded: Sequence[str]) -> str:
    if len(exceeded) == 1:
        return TROUBLES[exceeded[0]]
    if exceeded:
        return "Tocsin does not keep up"
    return "Tocsin keeps up" if found["checks"] else "Nothing is being checked"


def per_time(tallies: Sequence[Tally | None]) -> Per:
    """A second, or a minute where not even the busiest second has a check."""
    busiest = max((t.checks for t in tallies if t), default=0)
    return Per("second", 1) if busiest >= 60 else Per("minute", 60)


def lede(
    found: Mapping[str, float], exceeded: Sequence[str], workers: int, per: Per
) -> str:
    said = [f"{TROUBLES[name]}." for name in exceeded] if len(exceeded) > 1 else []
    if not found["checks"]:
        return " ".join([*said, "No check was started in the last five minutes."])
    pace = f"{per.said(found['checks_per_second'])} {per.words}"
    by = desk.count(workers, "worker")
    p50, p95 = (milliseconds(found[f"lateness_{p}_ms"]) for p in ("p50", "p95"))
    return " ".join(
        [
            *said,
            f"{pace} by {by} over the last five minutes.",
            f"Half of them started within {p50} of their moment, 95 of 100 within "
            f"{p95}.",
        ]
    )


def figures(
    found: Mapping[str, float],
    checker: TocsinChecker,
    exceeded: Sequence[str],
    per: Per,
) -> list[Figure]:
    def figure(name: str, words: str, where: str = "") -> Figure:
        value, limit = found[name], checker.limit(name)
        say = milliseconds if name.endswith("_ms") else seconds
        held = f"limit {say(limit)}"
        if name in exceeded:
            return Figure(say(value), words, f"over its {held}", "down", where)
        # Only what cannot be judged is over its limit and not exceeded.
        few = ", too few checks to judge" if value > limit else ""
        return Figure(say(value), words, held + few, "", where)

    return [
        Figure(per.said(found["checks_per_second"]), per.words, where="#pace"),
        figure("lateness_p95_ms", "lateness of checks, p95", "#lateness"),
        figure("oldest_due_monitor_seconds", "oldest due monitor"),
        figure("oldest_unannounced_transition_seconds", "oldest unannounced change"),
        figure("oldest_unsent_message_seconds", "oldest unsent message"),
    ]


def whose_limits(watch: Monitor | None) -> SafeString:
    if watch:
        return format_html("The limits are those of {}.", desk.link(watch))
    return format_html(
        "No monitor watches this, so nobody is told. The limits are the usual ones. "
        '<a href="{}?kind=tocsin">Watch Tocsin itself</a>',
        reverse("admin:monitors_monitor_add"),
    )


def milliseconds(value: float) -> str:
    if math.isnan(value):
        return "\N{EN DASH}"
    if value == 0:
        return "0"
    return f"{gauges.said(value / 1000)} s" if value >= 1000 else f"{_short(value)} ms"


def seconds(value: float) -> str:
    return desk.length(value) if value >= 120 else f"{gauges.said(int(value))} s"


def _short(value: float) -> str:
    return gauges.said(round(value, 1) if value >= 1 else value)


# Drawings

PACE: Final = "All workers together, by minute. Times are UTC."
LATENESS: Final = "Line: half are no later (p50). Dashes: 95 of 100 are no later (p95)."
FLUSHES: Final = "Line: half take no longer (p50). Dashes: 95 of 100 (p95)."


def draw(
    tallies: Sequence[Tally | None],
    begin: datetime,
    end: datetime,
    checker: TocsinChecker,
    per: Per,
) -> list[Plot]:
    moments = plots.clock(begin, end, 30)
    pace = [t.checks / 60 * per.seconds if t else None for t in tallies]
    late50, late95 = of_minutes(tallies, "lateness")
    flush50, flush95 = of_minutes(tallies, "flushes")
    return [
        plots.draw(
            Plot("pace", per.words.capitalize(), PACE, in_words(pace, gauges.said)),
            {"p50": pace},
            moments,
            gauges.said,
        ),
        plots.draw(
            Plot("lateness", "How late checks start", LATENESS, two(late50, late95)),
            {"p50": late50, "p95": late95},
            moments,
            milliseconds,
            checker.lateness_p95_ms,
        ),
        plots.draw(
            Plot("flushes", "Writing results down", FLUSHES, two(flush50, flush95)),
            {"p50": flush50, "p95": flush95},
            moments,
            milliseconds,
        ),
    ]


def of_minutes(
    tallies: Sequence[Tally | None], name: str
) -> tuple[list[float | None], list[float | None]]:
    """Return p50 and p95 of what was measured, in ms, for each minute."""
    sketches = [getattr(t, name) if t else None for t in tallies]
    p50, p95 = (
        [s.quantile(q) if s and s.counts else None for s in sketches]
        for q in (0.5, 0.95)
    )
    return p50, p95


def in_words(values: Values, say: plots.Say) -> str:
    """What a line says: its usual height, its extremes, and where it is broken."""
    known = sorted(plots.known(values))
    if not known:
        return "Nothing was measured in these three hours."
    usual, at = say(known[len(known) // 2]), values.index(known[-1])
    ago = desk.length((MINUTES - at) * 60)
    said = f"Mostly {usual}, least {say(known[0])}, most {say(known[-1])}, {ago} ago."
    missing = len(values) - len(known)
    without = f" Nothing was measured in {missing} of {len(values)} minutes."
    return said + (without if missing else "")


def two(p50: Values, p95: Values) -> str:
    return f"p50: {in_words(p50, milliseconds)} p95: {in_words(p95, milliseconds)}"


def as_table(
    tallies: Sequence[Tally | None], begin: datetime, per: Per
) -> list[Minute]:
    """The same as the drawings, newest first; minutes without a check are left out."""
    found = [
        Minute(
            begin + n * MINUTE,
            per.said(tally.checks / 60),
            pair(tally, "lateness"),
            pair(tally, "flushes"),
        )
        for n, tally in enumerate(tallies)
        if tally
    ]
    return found[::-1]


def pair(tally: Tally, name: str) -> tuple[str, str]:
    sketch = getattr(tally, name)
    return milliseconds(quantile(sketch, 0.5)), milliseconds(quantile(sketch, 0.95))
