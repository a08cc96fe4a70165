"""From what was measured to what is printed."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

POINTS: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))


def percentile(values: Sequence[float], part: float) -> float:
    """The value that this part of them, from 0 to 1, lies below."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def spread(name: str, seconds: Sequence[float]) -> dict[str, float | None]:
    """Points of a distribution of seconds, in milliseconds; None if it is empty."""
    return {
        f"{name}_{point}_ms": round(percentile(seconds, part) * 1000, 1)
        if seconds
        else None
        for point, part in POINTS
    }


def lateness(late: Sequence[float]) -> dict[str, float | None]:
    return spread("lateness", late)


def with_cost(found: dict[str, Any]) -> dict[str, Any]:
    """Add the CPU in seconds that a thousand checks took."""
    cost = found["cpu_seconds"] / max(1, found["checks"]) * 1000
    return {**found, "cpu_seconds_per_1000": round(cost, 3)}


def rounded(values: Mapping[str, float], digits: int = 1) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}
