"""How a page says things: lengths, counts, and the headline."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from incidents.models import Incident
from incidents.words import duration
from monitors.models import Status

_NUMBERS: Final = (
    *("no", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
# The look of a status; a partial outage is a kind of degradation.
LOOKS: Final = {status.value: status.value for status in Status} | {
    Status.PARTIAL.value: Status.DEGRADED.value
}
_TROUBLES: Final = (Status.DOWN, Status.PARTIAL, Status.DEGRADED)
_PREDICATES: Final = {
    Status.DOWN: "down",
    Status.PARTIAL: "partly down",
    Status.DEGRADED: "degraded",
    Status.MAINTENANCE: "under maintenance",
}


def short(length: timedelta) -> str:
    """Return "40 s", "51 min", "2 h 5 min" or "3 days 4 h"; never negative."""
    seconds = max(0, int(length.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    told = "1 day" if days == 1 else f"{days} days"
    return f"{told} {hours} h" if hours else told


def ago(length: timedelta) -> str:
    """Return "just now", "51 min ago", "2 h ago" or "3 days ago"."""
    if length < timedelta(minutes=1):
        return "just now"
    if length < timedelta(hours=1):
        return f"{short(length)} ago"
    if length < timedelta(days=1):
        return f"{length // timedelta(hours=1)} h ago"
    return f"{short(timedelta(days=length.days))} ago"


def number(n: int) -> str:
    """Spell small numbers out."""
    return _NUMBERS[n] if 0 <= n < len(_NUMBERS) else str(n)


def listed(parts: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def moment(at: datetime, now: datetime) -> str:
    """The time of day, after its date where that is not today; both in one zone."""
    at = at.astimezone(now.tzinfo)
    if at.date() == now.date():
        return f"{at:%H:%M}"
    return f"{day(at, now)}, {at:%H:%M}"


def span(begin: datetime, end: datetime, now: datetime) -> str:
    """Return "13:41 to 14:19", with the date, or both, where that is not today."""
    begin, end = begin.astimezone(now.tzinfo), end.astimezone(now.tzinfo)
    if begin.date() != end.date():
        return f"{moment(begin, now)} to {moment(end, now)}"
    date = "" if end.date() == now.date() else f" on {day(end, now)}"
    return f"{begin:%H:%M} to {end:%H:%M}{date}"


def offset(at: datetime) -> str:
    """Return "UTC+1" or "UTC+5:30"."""
    minutes = (at.utcoffset() or timedelta()) // timedelta(minutes=1)
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'-' if minutes < 0 else '+'}{hours}{f':{rest:02}' if rest else ''}"


def day(at: datetime, now: datetime) -> str:
    year = "" if at.year == now.year else f" {at.year}"
    return f"{at.day} {at:%B}{year}"


class Standing(NamedTuple):
    """What the headline needs to know of one monitor."""

    name: str
    status: str
    since: datetime | None
    is_paused: bool


class Headline(NamedTuple):
    """The answer in words: a look, a sentence about the reader's world, and more."""

    look: str
    title: str
    more: str


def headline(
    standings: Sequence[Standing],
    incidents: Sequence[Incident],
    *,
    now: datetime,
    last_end: datetime | None,
) -> Headline:
    """Say how things are; `incidents` are the open ones, `now` is in the page's zone."""
    groups: dict[str, list[Standing]] = {}
    for standing in standings:
        key = "paused" if standing.is_paused else standing.status
        groups.setdefault(key, []).append(standing)
    for status in _TROUBLES:
        if status in groups:
            return _trouble(status, groups, len(standings), now)
    if incidents:
        worst = max(incidents, key=lambda incident: incident.severity)
        return _untraced(worst, groups, len(standings), now)
    if Status.MAINTENANCE in groups:
        return _trouble(Status.MAINTENANCE, groups, len(standings), now)
    if Status.NO_DATA in groups:
        return _unseen(groups, len(standings), now)
    return _quiet(groups, len(standings), now, last_end)


def _trouble(
    status: Status, groups: dict[str, list[Standing]], total: int, now: datetime
) -> Headline:
    told = groups.pop(status)
    sentences = []
    if len(told) == 1 and told[0].since:
        since = told[0].since
        sentences.append(f"Since {moment(since, now)}, for {duration(now - since)}.")
    for other in (*_TROUBLES, Status.MAINTENANCE):
        if other in groups and len(groups[other]) <= 2:
            sentences.append(f"{_sentence(other, groups.pop(other), total)}.")
    sentences.append(_rest(groups, total))
    title = _sentence(status, told, total)
    return Headline(LOOKS[status], title, " ".join(filter(None, sentences)))


def _untraced(
    incident: Incident, groups: dict[str, list[Standing]], total: int, now: datetime
) -> Headline:
    critical = incident.severity == Incident.Severity.CRITICAL
    begun = f"{incident.get_state_display()}, since {moment(incident.started_at, now)}."
    return Headline(
        Status.DOWN if critical else Status.DEGRADED,
        incident.title,
        f"{begun} {_rest(groups, total)}".strip(),
    )


def _unseen(groups: dict[str, list[Standing]], total: int, now: datetime) -> Headline:
    unseen = groups.pop(Status.NO_DATA)
    names = _subject(unseen, total, object_=True)
    sentences = []
    if len(unseen) == 1 and unseen[0].since:
        since = moment(unseen[0].since, now)
        sentences.append(f"It has not reported since {since}.")
    elif not any(standing.since for standing in unseen):
        waits = "It has" if len(unseen) == 1 else "They have"
        sentences.append(f"{waits} not been checked yet.")
    sentences.append(_rest(groups, total))
    more = " ".join(filter(None, sentences))
    return Headline(Status.NO_DATA, f"We cannot see {names}", more)


def _quiet(
    groups: dict[str, list[Standing]],
    total: int,
    now: datetime,
    last_end: datetime | None,
) -> Headline:
    up, paused = groups.get(Status.UP, []), groups.get("paused", [])
    if not total:
        return Headline(
            Status.NO_DATA,
            "Nothing is watched yet",
            "What is watched shows here once it is set up.",
        )
    if not up:
        title = (
            f"{paused[0].name} is paused" if total == 1 else "All services are paused"
        )
        return Headline(Status.NO_DATA, title, "Nobody is looking at the moment.")
    if total == 1:
        title = f"{up[0].name} is up"
    else:
        title = "All watched services are up" if paused else "All services are up"
    past = (
        f"The last incident ended {ago(now - last_end)}."
        if last_end
        else "No incident in the last seven days."
    )
    rest = _rest(groups, total) if paused else ""
    return Headline(Status.UP, title, f"{rest} {past}".strip())


def _sentence(status: Status, standings: list[Standing], total: int) -> str:
    verb = "is" if len(standings) == 1 else "are"
    return f"{_subject(standings, total)} {verb} {_PREDICATES[status]}"


def _subject(standings: list[Standing], total: int, *, object_: bool = False) -> str:
    if len(standings) == total > 1:
        return "any service" if object_ else "All services"
    if len(standings) <= 2:
        return listed([standing.name for standing in standings])
    count = f"{number(len(standings))} services"
    return count if object_ else _upper(count)


def _rest(groups: dict[str, list[Standing]], total: int) -> str:
    """Tell in one sentence how many are up, and of those not yet told of."""
    if total < 2:
        return ""
    up = len(groups.get(Status.UP, []))
    others = []
    for key, predicate in (
        *((status, _PREDICATES[status]) for status in _PREDICATES),
        ("paused", "paused"),
    ):
        if n := len(groups.get(key, [])):
            others.append(f"{number(n)} {'is' if n == 1 else 'are'} {predicate}")
    if n := len(groups.get(Status.NO_DATA, [])):
        others.append(f"{number(n)} {'has' if n == 1 else 'have'} not reported")
    if up == total:
        return f"All {number(total)} services are up."
    told = []
    if up:
        verb = "is" if up == 1 else "are"
        told.append(f"{number(up)} of {number(total)} services {verb} up")
    told += others
    return f"{_upper(listed(told))}." if told else ""


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
