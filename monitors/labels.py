"""What labels are in use by; upper apps say what else there is."""

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet

from access import desk

from .models import Label, Monitor

_users: dict[str, Callable[[], QuerySet[Any]]] = {"monitor": Monitor.objects.current}


def ask_before_deleting(noun: str, rows: Callable[[], QuerySet[Any]]) -> None:
    """Keep a label as long as one of these rows, which have `labels`, bears it."""
    _users[noun] = rows


def uses(label: Label) -> str:
    """Say what uses a label, such as "two monitors and one rule"; or nothing."""
    counts = {
        noun: rows().filter(labels=label).count() for noun, rows in _users.items()
    }
    return " and ".join(desk.count(n, noun) for noun, n in counts.items() if n)


def refusal(label: Label) -> str:
    """Why a label cannot be deleted; empty if it can."""
    users = uses(label)
    return f"The label {label} is in use by {users}." if users else ""
