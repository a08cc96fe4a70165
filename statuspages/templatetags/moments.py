"""Moments, lengths and what operators wrote, as every page and mail shows them.

The context's `now` is in the page's zone. The absolute time leads; the
relative one follows and may be refreshed by the script.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from django import template
from django.template.context import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from incidents import markdown, titles
from statuspages import words

register = template.Library()


@register.simple_tag(takes_context=True)
def moment(context: Context, at: datetime) -> SafeString:
    """<time> with the time of day, and the date where that is not today."""
    return _time(at, words.moment(at, context["now"]))


@register.simple_tag
def clock(at: datetime, now: datetime) -> SafeString:
    """<time> with the time of day alone."""
    return _time(at, f"{at.astimezone(now.tzinfo):%H:%M}")


@register.simple_tag(takes_context=True)
def ago(context: Context, at: datetime) -> SafeString:
    told = words.ago(context["now"] - at)
    return format_html('<small data-ago="{}">{}</small>', _iso(at), told)


@register.filter
def in_words(at: datetime, now: datetime) -> str:
    return words.moment(at, now)


@register.simple_tag(takes_context=True)
def span(context: Context, begin: datetime, end: datetime) -> str:
    return words.span(begin, end, context["now"])


@register.simple_tag(takes_context=True)
def window(context: Context, begin: datetime, end: datetime) -> SafeString:
    """Two <time>s with "to" between them; of one day, its date stands once."""
    now = context["now"]
    end = end.astimezone(now.tzinfo)
    is_one_day = begin.astimezone(now.tzinfo).date() == end.date()
    until = f"{end:%H:%M}" if is_one_day else f"{words.day(end, now)}, {end:%H:%M}"
    return format_html("{} to {}", moment(context, begin), _time(end, until))


@register.filter
def one_line(title: str) -> str:
    """A title cannot pass for what comes after it."""
    return titles.one_line(title)


@register.filter
def prose(html: str, heading: str) -> SafeString:
    """Rendered Markdown that stands below a heading, which is given as "h3"."""
    return mark_safe(markdown.placed(html, below=int(heading[1:])))


@register.filter
def offset(at: datetime) -> str:
    return words.offset(at)


@register.filter
def lasting(length: timedelta) -> str:
    return words.short(length)


@register.filter
def other_day(at: datetime, now: datetime) -> str:
    """The date of a moment that is not today's, else nothing."""
    at = at.astimezone(now.tzinfo)
    return "" if at.date() == now.date() else words.day(at, now)


@register.filter
def spelled(n: int) -> str:
    return words.number(n)


@register.filter
def days_listed(days: Sequence[date]) -> str:
    """Return "15, 16 and 18 to 20 November", or "31 October and 2 November"."""
    months = [
        (month, _runs([day.day for day in some]))
        for month, some in groupby(days, key=lambda day: f"{day:%B}")
    ]
    if len(months) == 1:
        [(month, runs)] = months
        return f"{words.listed(runs)} {month}"
    return words.listed([f"{', '.join(runs)} {month}" for month, runs in months])


def _runs(numbers: list[int]) -> list[str]:
    """Return three and more in a row as "18 to 20"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and runs[-1][-1] == n - 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    told = []
    for run in runs:
        told += [str(n) for n in run] if len(run) < 3 else [f"{run[0]} to {run[-1]}"]
    return told


def _time(at: datetime, shown: str) -> SafeString:
    return format_html('<time datetime="{}">{}</time>', _iso(at), shown)


def _iso(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
