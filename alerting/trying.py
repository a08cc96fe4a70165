"""What a rule would have done, as the admin shows it beside the rule's form."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Final, NamedTuple

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk, plots
from monitors import timeline
from monitors.models import Monitor, Status
from monitors.models.status import CODES
from monitors.panels import explained_address, short

from .models import Alert, AlertRule, Decision
from .simulation import PARTS, Simulated, SimulatedAlert, SimulatedDecision, Sketch

# So many monitors are drawn, those with the most alerts; so many rows are shown.
MOST_DRAWN: Final = 20
MOST_ROWS: Final = 200
RANGES: Final = {1: "24 hours", 7: "7 days", 30: "30 days"}
_LOOKS: Final = {code: str(name) for name, code in CODES.items()}
_SHAPES: Final = {look: shapes for look, _, shapes in timeline.KEY}
_MARK: Final = ((0, 10),)
MARKS: Final = (
    ("made", "Alert"),
    ("spared", "Left alone or held back"),
    ("opened", "Incident"),
)
# A little more than an alert needs to be told of: it was held back.
_HAIR: Final = timedelta(seconds=1)

Stretch = tuple[datetime, datetime | None]


class Count(NamedTuple):
    """How many there would have been, and how many there really were."""

    words: str
    number: str
    small: str = ""


class Drawing(NamedTuple):
    """One monitor: what it did, and when there would have been alerts."""

    number: int
    monitor: SafeString
    counts: str
    checks: list[timeline.Stroke]
    plot: plots.Plot | None
    spared: list[timeline.Stroke]
    alerts: list[timeline.Stroke]
    incidents: list[timeline.Stroke]
    ticks: list[timeline.Tick]
    summary: str
    has_incidents: bool


class Tried(NamedTuple):
    """The panel."""

    headline: str
    note: str
    counts: list[Count]
    drawings: list[Drawing]
    tables: list[str]
    marks: list[tuple[str, str]]
    key: Sequence[tuple[str, str, timeline.Shapes]] = timeline.KEY


def shown(rule: AlertRule, found: Simulated, days: int) -> Tried:
    """Say what a rule would have done in the last days, and draw it."""
    per_monitor = Counter(alert.monitor.pk for alert in found.alerts)
    noisiest = sorted(found.monitors, key=lambda m: (-per_monitor[m.pk], m.name, m.pk))
    drawn, others = noisiest[:MOST_DRAWN], noisiest[MOST_DRAWN:]
    return Tried(
        headline(rule, found, days),
        note(found),
        counts(rule, found),
        [draw(n, rule, monitor, found) for n, monitor in enumerate(drawn, 1)],
        [
            rest(others, found),
            alerts(found),
            decisions(found),
        ],
        [mark for mark in MARKS if mark[0] != "opened" or rule.create_incident],
    )


# Words


def headline(rule: AlertRule, found: Simulated, days: int) -> str:
    made = desk.count(len(found.alerts), "alert")
    if rule.create_incident:
        made += f" and {desk.count(len(found.incidents), 'incident')}"
    return f"With this rule the last {RANGES[days]} would have made {made}"


def note(found: Simulated) -> str:
    if not found.results:
        return "There is no result of these monitors in this time."
    said = f"Counted from {found.results:,} stored checks. Nothing is saved or sent."
    if found.data_from and found.data_from - found.begin > timedelta(hours=1):
        from_when = f"{found.data_from:%-d %b %H:%M}"
        said += f" Older ones than of {from_when} UTC there are none."
    return said


def counts(rule: AlertRule, found: Simulated) -> list[Count]:
    """What there would have been, next to what there was."""
    real = Alert.objects.filter(
        monitor__in=[monitor.pk for monitor in found.monitors],
        triggered_at__gte=found.begin,
        triggered_at__lt=found.end,
    )
    whose = "by all rules"
    if rule.pk:
        real, whose = real.filter(rule=rule.pk), "by this rule"
    opened = real.exclude(incident_number=None).values("incident_number").distinct()
    refused = found.counts["decisions"]
    held = sum(told_late(alert) for alert in found.alerts)
    return [
        Count("Alerts", f"{len(found.alerts):,}", f"really {real.count():,}, {whose}"),
        Count("Incidents", f"{len(found.incidents):,}", f"really {opened.count():,}"),
        Count("Held back", f"{held:,}", "alerts told of later, or never"),
        Count("Decisions", f"{refused:,}", "what was left alone, and why"),
    ]


def told_late(alert: SimulatedAlert) -> bool:
    return alert.told_at is None or alert.told_at - alert.triggered_at > _HAIR


# Drawings


def draw(number: int, rule: AlertRule, monitor: Monitor, found: Simulated) -> Drawing:
    sketch = found.sketches[monitor.pk]
    alerts = [a for a in found.alerts if a.monitor is monitor]
    incidents = [i for i in found.incidents if i.monitor is monitor]
    said = desk.count(len(alerts), "alert")
    if rule.create_incident:
        said += f", {desk.count(len(incidents), 'incident')}"
    spared = [d for d in found.decisions if d.monitor is monitor]
    plot = None
    if rule.alert_for == AlertRule.For.LATENCY:
        plot = _latency(rule, monitor, sketch)
    return Drawing(
        number,
        desk.link(monitor),
        said,
        [] if plot else checks(sketch, found),
        plot,
        marks("Left alone", [(d.began_at, d.at) for d in spared], found),
        marks("Alert", [(a.triggered_at, a.resolved_at) for a in alerts], found),
        marks("Incident", [(i.started_at, i.ended_at) for i in incidents], found),
        timeline.ticks(found.begin, found.end),
        f"{monitor}: {said}",
        rule.create_incident,
    )


def checks(sketch: Sketch, found: Simulated) -> list[timeline.Stroke]:
    """The worst status of each part of the time."""
    strokes = []
    for code, run in _runs(sketch.worst):
        status = _LOOKS.get(code, "no_data")
        look = "degraded" if status == Status.PARTIAL else status
        says = f"{Status(status).label}, {_when(run, found)}"
        strokes.append(_stroke(run, says, look, _SHAPES[look]))
    return strokes


def _runs(values: Sequence[int]) -> Iterable[tuple[int, range]]:
    begin = 0
    for n in range(1, len(values) + 1):
        if n == len(values) or values[n] != values[begin]:
            yield values[begin], range(begin, n)
            begin = n


def marks(
    what: str, stretches: Iterable[Stretch], found: Simulated
) -> list[timeline.Stroke]:
    """Where there would have been one: at least as wide as can be seen, and those
    that cannot be told apart as one."""
    strokes: list[timeline.Stroke] = []
    for run, touching in _touching(stretches, found):
        begin, last = touching[0][0], touching[-1][1]
        still = "" if last else ", not over"
        lasted = desk.length(((last or found.end) - begin).total_seconds())
        name = f"{len(touching):,} times {what.lower()}" if len(touching) > 1 else what
        says = f"{name} from {_moment(begin)} UTC, {lasted}{still}"
        strokes.append(_stroke(run, says, "down", _MARK))
    return strokes


def _touching(
    stretches: Iterable[Stretch], found: Simulated
) -> Iterable[tuple[range, list[Stretch]]]:
    """Gather, by their beginning, those that fall into the same parts."""
    run, gathered = range(0), list[Stretch]()
    for stretch in sorted(stretches, key=itemgetter(0)):
        begin = _part(stretch[0], found)
        end = max(begin + 1, _part(stretch[1] or found.end, found, up=True))
        if gathered and begin < run.stop:
            run = range(run.start, max(run.stop, end))
            gathered.append(stretch)
            continue
        if gathered:
            yield run, gathered
        run, gathered = range(begin, end), [stretch]
    if gathered:
        yield run, gathered


def _part(at: datetime, found: Simulated, *, up: bool = False) -> int:
    """Which part of the time a moment lies in, or the one that begins after it."""
    place = (at - found.begin) / (found.end - found.begin) * PARTS
    return max(0, min(PARTS - 1, math.floor(place))) + up


def _stroke(
    run: range, says: str, look: str, shapes: timeline.Shapes
) -> timeline.Stroke:
    x, width = (f"{100 * n / PARTS:.6g}%" for n in (run.start, len(run)))
    return timeline.Stroke(x, width, says, look, shapes)


def _when(run: range, found: Simulated) -> str:
    part = (found.end - found.begin) / PARTS
    begin, end = (found.begin + n * part for n in (run.start, run.stop))
    return f"{_moment(begin)} to {_moment(end)} UTC"


def _moment(at: datetime) -> str:
    return f"{at:%-d %b %H:%M}"


def _latency(rule: AlertRule, monitor: Monitor, sketch: Sketch) -> plots.Plot:
    known = plots.known(sketch.slowest)
    said = f"The slowest answer took {short(max(known))}" if known else "No answers"
    plot = plots.Plot("latency", f"Latency of {monitor}", "", f"{said}.")
    return plots.draw(
        plot, {"p50": sketch.slowest}, [], short, limit=float(rule.alert_value)
    )


# Tables


def rest(monitors: Sequence[Monitor], found: Simulated) -> str:
    """The monitors that are not drawn."""
    made = Counter(alert.monitor.pk for alert in found.alerts)
    opened = Counter(incident.monitor.pk for incident in found.incidents)
    refused = Counter(decision.monitor.pk for decision in found.decisions)
    return desk.table(
        "Other monitors",
        ["Monitor", "Alerts", "Incidents", "Decisions"],
        ([desk.link(m), made[m.pk], opened[m.pk], refused[m.pk]] for m in monitors),
        note=f"The {MOST_DRAWN} with the most alerts are drawn",
    )


def alerts(found: Simulated) -> str:
    newest = found.alerts[: -MOST_ROWS - 1 : -1]
    opened = {(i.monitor.pk, i.started_at) for i in found.incidents}
    left_out = len(found.alerts) - len(newest)
    return desk.table(
        "Alerts that there would have been",
        ["Monitor", "Triggered", "Over", "Because", "Then"],
        (_alert(alert, found, opened) for alert in newest),
        note=f"Newest first{f'; {left_out:,} older ones are left out' * bool(left_out)}",
        empty="None.",
    )


def _alert(
    alert: SimulatedAlert, found: Simulated, opened: set[tuple[int, datetime]]
) -> Sequence[object]:
    end = alert.resolved_at or found.end
    because = format_html("{}<small>{}</small>", alert.observed, alert.reason)
    begun = (alert.monitor.pk, alert.began_at) in opened
    then = "an incident" if begun else desk.NOTHING
    if told_late(alert):
        when = desk.moment(alert.told_at) if alert.told_at else "never"
        then = format_html("{}<small>told: {}</small>", then, when)
    address = explained_address(alert.monitor, alert.began_at, end)
    return [
        desk.link(alert.monitor),
        format_html('<a href="{}">{}</a>', address, desk.moment(alert.triggered_at)),
        desk.ended(alert.resolved_at, alert.triggered_at)
        if alert.resolved_at
        else "not over",
        because,
        then,
    ]


_GATES: Final[Mapping[str, str]] = {
    "threshold": "too short",
    "hold": "held back",
    "parent": "a parent is down",
    "flapping": "flapping",
    "cooldown": "cooldown",
    "reopen": "opened again",
    "duplicate": "duplicate",
}
_VERDICTS: Final = {
    "REFUSED": "no_data",
    "WITHHELD": "maintenance",
    "REOPENED": "degraded",
}


def decisions(found: Simulated) -> str:
    """Folded away: a nervous monitor has many."""
    newest = found.decisions[: -MOST_ROWS - 1 : -1]
    everything = found.counts["decisions"]
    context = {
        "decisions": [_decision(decision) for decision in newest],
        "count": everything,
        "left_out": everything - len(newest),
    }
    return render_to_string("admin/alerting/alertrule/decisions.html", context)


def _decision(decision: SimulatedDecision) -> Sequence[object]:
    gate = _GATES.get(decision.gate, decision.gate)
    word = str(Decision.Verdict(decision.verdict).label)
    look = _VERDICTS.get(decision.verdict, "no_data")
    times = f"{decision.times:,} times" if decision.times > 1 else ""
    small = format_html("<small>{}</small>", times) if times else ""
    return [
        desk.link(decision.monitor),
        desk.moment(decision.began_at),
        format_html("{}<small>{}</small>", desk.state(look, word), gate),
        format_html("{}{}", decision.reason, small),
    ]
