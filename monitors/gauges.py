"""Tocsin's own health as numbers, each known by its name.

Whoever knows a number registers how it is read. The check of ourselves, the
metrics and the page of the engine read them, and none needs to know whose they
are. Nothing here knows of Django.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Gauge:
    """One number; it reads as not a number while there is nothing to measure."""

    name: str
    label: str
    unit: str
    read: Callable[[], float]


_gauges: dict[str, Gauge] = {}
_shared: ContextVar[dict[Any, Any] | None] = ContextVar("shared", default=None)


def register(name: str, label: str, unit: str, read: Callable[[], float]) -> None:
    """Add a gauge; its name ends in the unit where it has one."""
    _gauges[name] = Gauge(name, label, unit, read)


def find(name: str) -> Gauge:
    return _gauges[name]


def read(*names: str) -> dict[str, float]:
    """Read the gauges named, or all of them; what they share is read once."""
    token = _shared.set({})
    try:
        return {name: _gauges[name].read() for name in names or tuple(_gauges)}
    finally:
        _shared.reset(token)


def shared(read: Callable[[], T]) -> Callable[[], T]:
    """Read once, however many gauges are read from it together."""

    def once() -> T:
        kept = _shared.get()
        if kept is None:
            return read()
        if read not in kept:
            kept[read] = read()
        found: T = kept[read]
        return found

    return once


def said(value: float) -> str:
    """Return a number in three figures or more: 0.42, 7.31, 42.8, 1,234."""
    figures = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{round(value, figures):,}".removesuffix(".0")
