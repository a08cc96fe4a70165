"""When the windows of a recurring maintenance happen: pure, no Django.

A rule of RFC 5545 names dates in the wall clock of a zone; each window begins at
the time of day of the first. A time in a gap has the offset before it (02:30
becomes 03:30), one that happens twice is the first of the two. What calendar
engines read differently is refused with the reason, so that an exported calendar
shows what happens here.

No rule burns the processor: dates are sought up to the end of 2099, and each day
is looked at once at most. A rule names one moment a date, so that a window is
known by its zone and its local start.
"""

import re
from calendar import monthrange
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise, takewhile
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .lengths import count as counted
from .lengths import duration as in_words

FIRST_YEAR: Final = 1970
# Fixed rather than so far from the start: the same question has the same answer
# wherever the search begins.
LAST_YEAR: Final = 2099
LONGEST_TEXT: Final = 500
LARGEST_INTERVAL: Final = 1000
LARGEST_COUNT: Final = 10_000
MOST_EXDATES: Final = 200
LONGEST: Final = timedelta(days=366)

_DAY: Final = timedelta(days=1)
_END: Final = datetime(LAST_YEAR + 2, 1, 1, tzinfo=UTC)

DAILY, WEEKLY, MONTHLY, YEARLY = "DAILY", "WEEKLY", "MONTHLY", "YEARLY"
# Kener's way to write that a window happens once; read by its parts, because
# the same letters begin COUNT=10.
_ONCE: Final = {"FREQ": "MINUTELY", "COUNT": "1"}
_UNITS: Final = {DAILY: "day", WEEKLY: "week", MONTHLY: "month", YEARLY: "year"}
_TOO_OFTEN: Final = {"SECONDLY", "MINUTELY", "HOURLY"}
_PARTS: Final = {
    "FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST",
    "BYMONTH", "BYMONTHDAY", "BYDAY", "BYSETPOS",
}  # fmt: skip
_EXDATE: Final = re.compile(
    r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII
)
_TIME_OF_DAY: Final = "the time of day is that of the start; leave it out."
_DISAGREE: Final = (
    "calendar engines disagree on it; name the days with BYMONTH, BYMONTHDAY and BYDAY."
)
_REFUSED: Final = {
    "BYHOUR": _TIME_OF_DAY,
    "BYMINUTE": _TIME_OF_DAY,
    "BYSECOND": _TIME_OF_DAY,
    "BYWEEKNO": _DISAGREE,
    "BYYEARDAY": _DISAGREE,
    "BYEASTER": _DISAGREE,
    "DTSTART": "the start is given beside the rule; leave it out.",
    "RDATE": "only dates of the rule can be windows; plan that one by itself.",
}
_CODES: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_WEEKDAYS: Final = (
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
)  # fmt: skip
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July",
    "August", "September", "October", "November", "December",
)  # fmt: skip
_ORDINALS: Final = ("first", "second", "third", "fourth", "fifth")
_GROUPS: Final = {
    (0, 1, 2, 3, 4): "weekday",
    (5, 6): "weekend day",
    (0, 1, 2, 3, 4, 5, 6): "day",
}


class RecurrenceInvalid(ValueError):
    """The rule or what is given with it cannot be used; the message says why.

    `field` is the argument of parse() that is wrong. `first` is a start that the
    rule does name, in UTC, where only the start is wrong.
    """

    def __init__(
        self, message: str, field: str = "rrule", first: datetime | None = None
    ) -> None:
        super().__init__(message)
        self.field = field
        self.first = first


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One window, in UTC. It begins at `starts_at`; `ends_at` is no longer in it.

    `local_start` is the date and time the rule names, without a zone. It stays
    the same when the laws on the clock change, so it tells windows apart.
    """

    starts_at: datetime
    ends_at: datetime
    local_start: datetime


@dataclass(frozen=True, slots=True)
class Rule:
    """Dates of the calendar, whatever the zone; no moment yet.

    `until` is the last date that may be named. A weekday is which of them in the
    month or year, 0 being each, and its number, 0 being Monday.
    """

    freq: str
    interval: int = 1
    count: int | None = None
    until: date | None = None
    months: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()
    weekdays: frozenset[tuple[int, int]] = frozenset()
    positions: frozenset[int] = frozenset()
    week_start: int = 0

    def completed(self, start: date) -> "Rule":
        """Return the rule with the days that it takes from its start."""
        if self.weekdays or self.month_days or self.freq == DAILY:
            return self
        if self.freq == WEEKLY:
            return replace(self, weekdays=frozenset({(0, start.weekday())}))
        # A rule of months that names no day happens on that of the start.
        is_bare = self.freq == YEARLY and not self.months
        months = (start.month,) if is_bare else self.months
        return replace(self, months=months, month_days=(start.day,))

    def dates(self, start: date, since: date, last: date) -> Iterator[date]:
        """Yield the dates from `since` to `last` of the rule that begins at `start`.

        COUNT and `until` are not looked at. To begin far from the start costs
        nothing.
        """
        first, end = max(start, since).toordinal(), last.toordinal()
        for period in self._periods(start, since, last):
            for ordinal in self._days(period, start.toordinal()):
                if first <= ordinal <= end:
                    yield date.fromordinal(ordinal)

    def _periods(self, start: date, since: date, last: date) -> range:
        """Return numbers of years, or of months since the year 0."""
        step = self.interval if self.freq in (MONTHLY, YEARLY) else 1
        first = self._period(start)
        passed = max(0, (self._period(since) - first) // step)
        return range(first, self._period(last) + 1, step)[passed:]

    def _period(self, day: date) -> int:
        return day.year if self.freq == YEARLY else day.year * 12 + day.month - 1

    def _days(self, period: int, start: int) -> list[int]:
        """Return the ordinals of the dates in a year or month, in order."""
        days = [
            ordinal
            for span in self._spans(period)
            for ordinal in self._on_month_days(span)
            if self._is_on_weekday(ordinal, span) and self._is_in_phase(ordinal, start)
        ]
        if not self.positions:
            return days
        return [
            day
            for place, day in enumerate(days)
            if place + 1 in self.positions or place - len(days) in self.positions
        ]

    def _spans(self, period: int) -> Iterator[range]:
        """Yield the days in which the days of months and weekdays are counted."""
        if self.freq != YEARLY:
            year, month = divmod(period, 12)
            if not self.months or month + 1 in self.months:
                yield _days_of_month(year, month + 1)
        elif self.months or self.month_days:
            for month in self.months or range(1, 13):
                yield _days_of_month(period, month)
        else:
            yield range(
                date(period, 1, 1).toordinal(), date(period + 1, 1, 1).toordinal()
            )

    def _on_month_days(self, month: range) -> Iterable[int]:
        if not self.month_days:
            return month
        days = {d - 1 if d > 0 else len(month) + d for d in self.month_days}
        return [month[d] for d in sorted(days) if 0 <= d < len(month)]

    def _is_on_weekday(self, ordinal: int, span: range) -> bool:
        if not self.weekdays:
            return True
        weekday = (ordinal - 1) % 7
        from_begin = (ordinal - span.start) // 7 + 1
        from_end = -((span.stop - 1 - ordinal) // 7 + 1)
        return (
            (0, weekday) in self.weekdays
            or (from_begin, weekday) in self.weekdays
            or (from_end, weekday) in self.weekdays
        )

    def _is_in_phase(self, ordinal: int, start: int) -> bool:
        """Say whether every so many days or weeks from the start lead here."""
        if self.interval == 1 or self.freq in (MONTHLY, YEARLY):
            return True
        if self.freq == WEEKLY:
            ordinal, start = self._week(ordinal), self._week(start)
        return (ordinal - start) % self.interval == 0

    def _week(self, ordinal: int) -> int:
        return (ordinal - 1 - self.week_start) // 7


def _days_of_month(year: int, month: int) -> range:
    first = date(year, month, 1).toordinal()
    return range(first, first + monthrange(year, month)[1])


@dataclass(frozen=True, slots=True)
class Recurrence:
    """The windows of a rule; made by parse().

    `starts_at` is when the first begins, `local_start` the same on the clock of
    the zone. `exdates` are the local starts that are left out. They count for
    COUNT, as RFC 5545 has it. `last` is the last date there can be, `rule` is
    as it was written.
    """

    rule: Rule
    starts_at: datetime
    local_start: datetime
    zone: ZoneInfo
    duration: timedelta
    last: date
    wall_clock: bool = False
    exdates: tuple[datetime, ...] = ()

    def between(
        self, begin: datetime, end: datetime, most: int = 1000
    ) -> list[Occurrence]:
        """Return the windows that begin in a time, its end not included.

        One that begins before and is still under way is not among them. There
        are at most `most`, the earliest.
        """
        found = takewhile(lambda o: o.starts_at < end, self._from(begin, end))
        return list(islice(found, most))

    def after(self, at: datetime, count: int = 1) -> list[Occurrence]:
        """Return the next so many windows that begin after a moment, not at it."""
        later = (o for o in self._from(at, _END) if o.starts_at > at)
        return list(islice(later, count))

    def _from(self, begin: datetime, end: datetime) -> Iterator[Occurrence]:
        # In UTC: two moments of one zone are compared by their clocks alone.
        begin = max(begin, self.starts_at).astimezone(UTC)
        end = min(end, _END).astimezone(UTC)
        if begin >= end:
            return
        # A day more on both sides: a change of the clock may be at midnight.
        since = begin.astimezone(self.zone).date() - _DAY
        for day in self._dates(since, end.astimezone(self.zone).date() + _DAY):
            occurrence = self._on(day)
            if occurrence and occurrence.starts_at >= begin:
                yield occurrence

    def _dates(self, since: date, last: date = date.max) -> Iterator[date]:
        """Yield the dates of the rule, those left out too."""
        start = self.local_start.date()
        return self.rule.completed(start).dates(start, since, min(last, self.last))

    def _on(self, day: date) -> Occurrence | None:
        """Return the window of a date of the rule, unless it is left out."""
        local, starts_at = self._local(day), self._start(day)
        if local in self.exdates or self._is_skipped(local, starts_at):
            return None
        return Occurrence(starts_at, self._ends_at(local, starts_at), local)

    def _local(self, day: date) -> datetime:
        return datetime.combine(day, self.local_start.time())

    def _start(self, day: date) -> datetime:
        # The first begins as it was said, be it the second of two 02:30.
        if day == self.local_start.date():
            return self.starts_at
        return _moment(self._local(day), self.zone)

    def _is_skipped(self, local: datetime, starts_at: datetime) -> bool:
        """Say whether the zone left out the whole date, as Samoa did in 2011.

        Such a date is as little one as 30 February.
        """
        return _on_the_wall(starts_at, self.zone) - local >= _DAY

    def _ends_at(self, local: datetime, starts_at: datetime) -> datetime:
        if self.wall_clock:
            ends_at = _moment(local + self.duration, self.zone)
            # Within a change of the clock the end can come before the start.
            if ends_at > starts_at:
                return ends_at
        return starts_at + self.duration

    @property
    def is_once(self) -> bool:
        return self.rule.count == 1

    @property
    def warnings(self) -> list[str]:
        """Return what is allowed and may still not be meant."""
        return [*self._overlaps(), *self._short_months(), *self.idle_exdates]

    def _overlaps(self) -> Iterator[str]:
        if self.duration <= _DAY:
            return
        # Days of the calendar: 24 hours a day is no overlap in spring.
        dates = islice(self._dates(self.local_start.date()), 367)
        if any(later - day < self.duration for day, later in pairwise(dates)):
            yield "The window is longer than its period: dates overlap."

    def _short_months(self) -> Iterator[str]:
        rule = self.rule.completed(self.local_start.date())
        months = rule.months or range(1, 13)
        shortest = min(monthrange(2001, month)[1] for month in months)
        days = [day for day in rule.month_days if abs(day) > shortest]
        if days and rule.freq != DAILY and not self.is_once:
            yield f"A month without {_listed(map(_month_day, days), 'or')} is left out."

    @property
    def idle_exdates(self) -> list[str]:
        """Return what is to be said of those that leave out nothing, if any do."""
        idle = [local for local in self.exdates if not self._names(local)]
        if not idle:
            return []
        listed = ", ".join(f"{local:%Y-%m-%d %H:%M}" for local in idle[:3])
        more = f" and {len(idle) - 3} more" if len(idle) > 3 else ""
        return [f"To leave out {listed}{more} changes nothing: no window begins then."]

    def _names(self, local: datetime) -> bool:
        day = local.date()
        return self._local(day) == local and day in self._dates(day, day)

    def ical(self) -> str:
        """Return the rule as RFC 5545 writes it, without RRULE: and exdates.

        parse() makes the same of it. UNTIL is in UTC and the moment of the last
        start there can be.
        """
        rule = self.rule
        until = f"{self._start(rule.until):%Y%m%dT%H%M%SZ}" if rule.until else ""
        parts = {
            "FREQ": rule.freq,
            "INTERVAL": str(rule.interval) if rule.interval > 1 else "",
            "COUNT": str(rule.count or ""),
            "UNTIL": until,
            "WKST": _CODES[rule.week_start] if rule.week_start else "",
            "BYMONTH": ",".join(map(str, rule.months)),
            "BYMONTHDAY": ",".join(map(str, rule.month_days)),
            "BYDAY": ",".join(
                f"{nth or ''}{_CODES[day]}" for nth, day in _weekdays_in_order(rule)
            ),
            "BYSETPOS": ",".join(map(str, _in_order(rule.positions))),
        }
        return ";".join(f"{name}={value}" for name, value in parts.items() if value)

    def describe(self) -> str:
        """Return it in words, such as "Every month on the second Tuesday at 02:30 …"."""
        zone = self.zone.key
        dates = f"Once, on {_date(self.local_start)}" if self.is_once else self._every()
        by = " by the clock" if self.wall_clock else ""
        length = f"{in_words(self.duration)}{by}"
        at = self.local_start.strftime("%H:%M:%S").removesuffix(":00")
        return f"{dates} at {at} {zone}, for {length}{self._ending()}"

    def _every(self) -> str:
        rule = self.rule.completed(self.local_start.date())
        unit = _UNITS[rule.freq]
        every = unit if rule.interval == 1 else counted(rule.interval, unit)
        return f"Every {every}{_days_in_words(rule)}{_filters_in_words(rule)}"

    def _ending(self) -> str:
        ending = ""
        if self.rule.count and not self.is_once:
            ending = f", {counted(self.rule.count, 'time')}"
        if self.rule.until:
            ending = f", until {_date(self.rule.until)}"
        if len(self.exdates) > 3:
            return f"{ending}, except on {len(self.exdates)} dates"
        if self.exdates:
            ending += f", except on {_listed(map(_date, self.exdates))}"
        return ending


def _moment(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment, in UTC, of a wall clock time.

    That of fold 0: the offset before a gap, the first of two.
    """
    return local.replace(tzinfo=zone).astimezone(UTC)


def _on_the_wall(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


# From text to a rule.


def parse(
    rrule: str,
    starts_at: datetime,
    time_zone: str,
    duration: timedelta,
    exdates: Iterable[date] = (),
    *,
    wall_clock: bool = False,
) -> Recurrence:
    """Return when windows happen, or raise RecurrenceInvalid saying what to do.

    The text is a rule with or without RRULE:, and EXDATE lines if any. UNTIL is
    inclusive: a moment in UTC, or a date or a date with a time in the zone. The
    start is an aware moment; one that is given in the zone keeps its time of
    day, even in a gap. What is finer than a second is cut off.

    Dates to leave out are aware moments, local starts without a zone, or plain
    dates. A window lasts for the duration, or with `wall_clock` until the clock
    shows so much more.
    """
    zone = _zone(time_zone)
    start, local = _starts(starts_at, zone)
    _check_duration(duration)
    parts, left_out = _split(rrule, zone)
    rule = _rule(parts)
    if "UNTIL" in parts:
        rule = replace(rule, until=_until(parts["UNTIL"], start, local, zone))
    last = min(rule.until or date.max, date(LAST_YEAR, 12, 31))
    found = Recurrence(rule, start, local, zone, duration, last, wall_clock)
    _check_start(found)
    return replace(
        found, last=_last(found), exdates=_left_out([*left_out, *exdates], found)
    )


def _zone(time_zone: str) -> ZoneInfo:
    try:
        return ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RecurrenceInvalid(
            f"There is no time zone {time_zone}; give one such as Europe/Berlin.",
            "time_zone",
        ) from None


def _starts(starts_at: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the start in UTC and on the clock of the zone."""
    if starts_at.utcoffset() is None:
        raise RecurrenceInvalid("The start must say its offset.", "starts_at")
    _check_year(starts_at, "The start", "starts_at")
    starts_at = starts_at.replace(microsecond=0)
    return starts_at.astimezone(UTC), _on_the_wall(starts_at, zone)


def _check_duration(duration: timedelta) -> None:
    if not timedelta(seconds=1) <= duration <= LONGEST:
        raise RecurrenceInvalid(
            f"A window must last from a second to {LONGEST.days} days.", "duration"
        )


def _check_year(day: date, what: str, field: str) -> None:
    # A day more on both sides: elsewhere it may be another year.
    first, last = date(FIRST_YEAR - 1, 12, 31), date(LAST_YEAR + 1, 1, 1)
    if not first.toordinal() <= day.toordinal() <= last.toordinal():
        raise RecurrenceInvalid(
            f"{what} must lie in the years {FIRST_YEAR} to {LAST_YEAR}.", field
        )


def _check_start(found: Recurrence) -> None:
    """Refuse a start that the rule does not name, and a rule that names none."""
    start = found.local_start.date()
    first = next(found._dates(start), None)
    if first is None:
        raise RecurrenceInvalid(
            f"The rule names no date from {_date(start)} to "
            f"{_date(found.last)}; change its days or months."
        )
    if first != start:
        raise RecurrenceInvalid(
            f"The start, {_WEEKDAYS[start.weekday()]} {_date(start)}, is no date of "
            "the rule, and calendar engines disagree on whether it counts; start on "
            f"{_WEEKDAYS[first.weekday()]} {_date(first)}.",
            "starts_at",
            found._start(first),
        )


def _last(found: Recurrence) -> date:
    """Return the last date, for COUNT found once and for all."""
    if found.rule.count is None:
        return found.last
    dates = found._dates(found.local_start.date())
    return next(islice(dates, found.rule.count - 1, None), found.last)


def _split(rrule: str, zone: ZoneInfo) -> tuple[dict[str, str], list[date]]:
    """Return the parts of the rule by name, and what EXDATE lines leave out."""
    if len(rrule) > LONGEST_TEXT:
        raise RecurrenceInvalid(
            f"The rule has {len(rrule)} characters; {LONGEST_TEXT} are allowed."
        )
    if not rrule.isascii():
        raise RecurrenceInvalid("The rule must be plain letters, digits and signs.")
    rules, exdates = _lines(rrule.upper())
    for line in rules:
        _check_name(re.split("[:;=]", line)[0])
    if len(rules) != 1:
        raise RecurrenceInvalid("Give one rule, such as FREQ=WEEKLY;BYDAY=TU.")
    left_out = [day for line in exdates for day in _exdates(line, zone)]
    return _parts(rules[0].removeprefix("RRULE:")), left_out


def _lines(text: str) -> tuple[list[str], list[str]]:
    """Return the lines of rules and those that leave dates out."""
    # RFC 5545 breaks long lines before a space.
    lines = re.sub(r"\r?\n[ \t]", "", text).split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    exdates = [line for line in lines if line.upper().startswith("EXDATE")]
    return [line for line in lines if line not in exdates], exdates


def _parts(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in filter(None, text.split(";")):
        name, _, value = map(str.strip, part.partition("="))
        _check_name(name)
        if name in parts:
            raise RecurrenceInvalid(f"{name} is given twice; give it once.")
        if name not in _PARTS:
            raise RecurrenceInvalid(f'"{name[:40]}" is not known; leave it out.')
        if not value:
            raise RecurrenceInvalid(f"{name} has no value; give one or leave it out.")
        parts[name] = value
    return parts if parts != _ONCE else {"FREQ": DAILY, "COUNT": "1"}


def _check_name(name: str) -> None:
    if name in _REFUSED:
        raise RecurrenceInvalid(f"{name} cannot be used: {_REFUSED[name]}")


def _rule(parts: dict[str, str]) -> Rule:
    """Return the rule without its UNTIL, which needs the zone."""
    counts = _numbers(parts, "COUNT", 1, LARGEST_COUNT, most=1)
    rule = Rule(
        freq=_freq(parts.get("FREQ", "")),
        interval=next(
            iter(_numbers(parts, "INTERVAL", 1, LARGEST_INTERVAL, most=1)), 1
        ),
        count=next(iter(counts), None),
        months=_numbers(parts, "BYMONTH", 1, 12),
        month_days=_numbers(parts, "BYMONTHDAY", -31, 31),
        weekdays=_weekdays(parts),
        positions=frozenset(_numbers(parts, "BYSETPOS", -366, 366)),
        week_start=_weekday(parts.get("WKST", "MO"), "WKST"),
    )
    for reason in _refusals(rule, parts):
        raise RecurrenceInvalid(reason)
    # Where it decides nothing it is dropped, so that equal rules are equal.
    if rule.freq != WEEKLY or rule.interval == 1:
        rule = replace(rule, week_start=0)
    return rule


def _freq(text: str) -> str:
    if text in _UNITS:
        return text
    known = "DAILY, WEEKLY, MONTHLY or YEARLY"
    if text in _TOO_OFTEN:
        raise RecurrenceInvalid(f"FREQ={text} is too often; give {known}.")
    raise RecurrenceInvalid(f"FREQ must be one of {known}.")


def _numbers(
    parts: dict[str, str], name: str, low: int, high: int, most: int | None = None
) -> tuple[int, ...]:
    """Return the numbers of a part in order, none of them 0."""
    if name not in parts:
        return ()
    texts = parts[name].split(",")
    are_whole = all(re.fullmatch(r"[+-]?\d{1,6}", text) for text in texts)
    numbers = {int(text) for text in texts} if are_whole else set()
    is_fit = all(low <= number <= high and number for number in numbers)
    if not numbers or not is_fit or len(texts) > (most or len(texts)):
        kind = "a whole number" if most == 1 else "whole numbers"
        but = ", but not 0" if low < 0 else ""
        raise RecurrenceInvalid(f"{name} must be {kind} from {low} to {high}{but}.")
    return tuple(_in_order(numbers))


def _in_order(numbers: Iterable[int]) -> list[int]:
    """Return them as they lie in a month: -1 is the last."""
    return sorted(numbers, key=lambda number: (number < 0, number))


def _weekdays(parts: dict[str, str]) -> frozenset[tuple[int, int]]:
    texts = parts["BYDAY"].split(",") if "BYDAY" in parts else []
    return frozenset(_numbered_weekday(text) for text in texts)


def _weekdays_in_order(rule: Rule) -> list[tuple[int, int]]:
    return sorted(rule.weekdays, key=lambda day: (day[0] < 0, day))


def _numbered_weekday(text: str) -> tuple[int, int]:
    number = int(text[:-2]) if re.fullmatch(r"[+-]?\d{1,2}", text[:-2]) else 0
    if text[:-2] and not 1 <= abs(number) <= 53:
        raise RecurrenceInvalid(
            f"BYDAY cannot be {text}; give days such as MO, 1MO or -1FR."
        )
    return number, _weekday(text[-2:], "BYDAY")


def _weekday(text: str, name: str) -> int:
    if text not in _CODES:
        raise RecurrenceInvalid(f"{name} must be made of {', '.join(_CODES)}.")
    return _CODES.index(text)


def _refusals(rule: Rule, parts: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong with parts that are right by themselves."""
    numbered = [nth for nth, _ in rule.weekdays if nth]
    is_of_months = rule.freq in (MONTHLY, YEARLY)
    if rule.count and "UNTIL" in parts:
        yield "COUNT and UNTIL cannot be used together; leave one out."
    if rule.freq == WEEKLY and rule.month_days:
        yield "BYMONTHDAY cannot be used with FREQ=WEEKLY; use MONTHLY."
    if numbered and not is_of_months:
        yield "BYDAY takes numbers, as in 1MO, with FREQ=MONTHLY or YEARLY only."
    if numbered and len(numbered) < len(rule.weekdays):
        yield "BYDAY must have numbers on all days or on none: engines disagree."
    if numbered and rule.month_days:
        yield "BYDAY with numbers names days already; leave BYMONTHDAY out."
    if rule.positions and not is_of_months:
        yield "BYSETPOS needs FREQ=MONTHLY or YEARLY; name the days with BYDAY."
    if rule.positions and not (rule.weekdays or rule.month_days or rule.months):
        yield "BYSETPOS picks from days; name them with BYDAY or BYMONTHDAY."


def _until(text: str, start: datetime, local: datetime, zone: ZoneInfo) -> date:
    """Return the last date whose start is not after UNTIL."""
    until = _stamp(text, "UNTIL", "rrule")
    if not isinstance(until, datetime):
        is_early, last = until < local.date(), until
    elif until.tzinfo:
        is_early, last = until < start, _last_until(until, local.time(), zone)
    else:
        is_early = until < local
        last = until.date() - _DAY * (until.time() < local.time())
    if is_early:
        raise RecurrenceInvalid("UNTIL lies before the start; give a later one.")
    return last


def _last_until(until: datetime, at: time, zone: ZoneInfo) -> date:
    near = until.astimezone(zone).date()
    # A gap moves a start past midnight, a clock set back then the end before it.
    days = (near + _DAY * n for n in (1, 0, -1, -2))
    return next(
        day for day in days if _moment(datetime.combine(day, at), zone) <= until
    )


def _stamp(text: str, what: str, field: str) -> date:
    """Return a date, a moment in UTC, or a local time without a zone."""
    written = re.fullmatch(r"(\d{8})(?:T(\d{6})(Z?))?", text)
    try:
        if written is None:
            raise ValueError
        at = datetime.strptime(written[1] + (written[2] or "000000"), "%Y%m%d%H%M%S")
    except ValueError:
        raise RecurrenceInvalid(
            f"{what} must be written as 20261225, 20261225T020000 or 20261225T010000Z.",
            field,
        ) from None
    _check_year(at, what, field)
    if written[2] is None:
        return at.date()
    return at.replace(tzinfo=UTC) if written[3] else at


def _exdates(line: str, zone: ZoneInfo) -> list[date]:
    name, _, values = line.partition(":")
    known = {f"TZID={zone.key.upper()}", "VALUE=DATE", "VALUE=DATE-TIME"}
    first, *parameters = name.split(";")
    if first != "EXDATE" or not known.issuperset(parameters):
        raise RecurrenceInvalid(
            f"EXDATE must be in {zone.key}, or in UTC with a Z at the end.", "exdates"
        )
    return [_stamp(text.strip(), "EXDATE", "exdates") for text in values.split(",")]


def part_exdates(rrule: str, time_zone: str) -> tuple[str, list[str]]:
    """Return the text without its EXDATE lines, and as ISO texts what they leave out."""
    rules, exdates = _lines(rrule)
    if not exdates:
        return rrule, []
    zone = _zone(time_zone)
    days = [day for line in exdates for day in _exdates(line.upper(), zone)]
    return "\n".join(rules), [day.isoformat() for day in days]


def check_exdates(texts: Iterable[str]) -> None:
    """Refuse what is no date, or date with a time, as people write them here.

    Python reads 2026-W10-3 and 20260304, too, which nobody means here.
    """
    for text in texts:
        if not (_EXDATE.fullmatch(text) and _is_moment(text)):
            raise RecurrenceInvalid(
                "Write dates to leave out as 2026-12-25 or 2026-12-25T02:00, "
                f'not "{text[:40]}".',
                "exdates",
            )


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _left_out(days: list[date], found: Recurrence) -> tuple[datetime, ...]:
    if len(days) > MOST_EXDATES:
        raise RecurrenceInvalid(
            f"{len(days)} dates are left out; at most {MOST_EXDATES} may be.", "exdates"
        )
    for day in days:
        _check_year(day, "A date to leave out", "exdates")
    return tuple(sorted({_local_start(day, found) for day in days}))


def _local_start(day: date, found: Recurrence) -> datetime:
    """Return the local start that a moment or a date stands for."""
    if not isinstance(day, datetime):
        return found._local(day)
    at = day.replace(microsecond=0)
    if at.tzinfo is None:
        return at
    at, local = at.astimezone(UTC), _on_the_wall(at, found.zone)
    # In a gap the clock shows more than the rule says.
    near = (local.date(), local.date() - _DAY)
    return next((found._local(d) for d in near if found._start(d) == at), local)


# From a rule to words.


def _date(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def _listed(words: Iterable[str], last: str = "and") -> str:
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end


def _nth(number: int) -> str:
    """Return "second", "20th", "last" or "second last"."""
    if number == -1:
        return "last"
    size = abs(number)
    word = _ORDINALS[size - 1] if size <= len(_ORDINALS) else _digits(size)
    return f"{word} last" if number < 0 else word


def _digits(number: int) -> str:
    is_teen = 10 < number % 100 < 20
    ending = "th" if is_teen else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _month_day(day: int) -> str:
    return f"the {_digits(day)}" if day > 0 else f"the {_nth(day)} day"


def _weekday_names(rule: Rule, last: str = "and") -> str:
    days = tuple(sorted(day for _, day in rule.weekdays))
    return _GROUPS.get(days) or _listed((_WEEKDAYS[day] for day in days), last)


def _days_in_words(rule: Rule) -> str:
    """Return " on …": the days that the rule names by itself."""
    if rule.freq == DAILY:
        return ""
    if rule.positions:
        return f" on the {_listed(map(_nth, _in_order(rule.positions)))} {_pool(rule)}"
    return f" on {_named_days(rule)}{_of_months(rule)}"


def _pool(rule: Rule) -> str:
    if rule.month_days or any(nth for nth, _ in rule.weekdays):
        return f"of these: {_named_days(rule)}{_of_months(rule)}"
    return f"{_weekday_names(rule, 'or')}{_of_months(rule)}"


def _named_days(rule: Rule) -> str:
    if rule.month_days:
        return _listed(map(_month_day, rule.month_days))
    if any(nth for nth, _ in rule.weekdays):
        return _listed(
            f"the {_nth(nth)} {_WEEKDAYS[day]}" for nth, day in _weekdays_in_order(rule)
        )
    names = _weekday_names(rule)
    is_plain = rule.freq == WEEKLY and names not in _GROUPS.values()
    return names if is_plain else f"every {names}"


def _of_months(rule: Rule) -> str:
    if rule.freq != YEARLY:
        return ""
    if rule.months:
        return f" of {_listed(_MONTHS[month - 1] for month in rule.months)}"
    return " of every month" if rule.month_days else ""


def _filters_in_words(rule: Rule) -> str:
    """Return what the days must be besides, between commas."""
    said = ""
    if rule.month_days and rule.freq == DAILY:
        said += f", if that is {_listed(map(_month_day, rule.month_days), 'or')}"
    if rule.weekdays and (rule.month_days or rule.freq == DAILY):
        said += f", if that is a {_weekday_names(rule, 'or')}"
    if rule.months and rule.freq != YEARLY:
        said += f", only in {_listed(_MONTHS[month - 1] for month in rule.months)}"
    return f"{said}," if said else ""
