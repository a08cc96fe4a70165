"""Lengths of time in words."""

from datetime import timedelta


def duration(length: timedelta) -> str:
    """Return "47 minutes", "1 hour 5 minutes" or "40 seconds"; never negative."""
    seconds = max(0, round(length.total_seconds()))
    if seconds < 60:
        return count(seconds, "second")
    minutes = seconds // 60
    days, minutes = divmod(minutes, 24 * 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(days, "day"), (hours, "hour"), (minutes, "minute")]
    return " ".join(count(n, unit) for n, unit in parts if n)


def count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
