from datetime import datetime
from typing import Any

from monitors.models import Monitor
from monitors.recording import Recorded

from . import evaluation
from .models import Alert


def evaluate(results: list[Recorded], **kwargs: Any) -> None:
    evaluation.evaluate(results)


def resolve_paused(monitor: Monitor, at: datetime, **kwargs: Any) -> None:
    _resolve(monitor, "The monitor was paused.", at)


def resolve_retired(monitor: Monitor, at: datetime, **kwargs: Any) -> None:
    _resolve(monitor, "The monitor was deleted.", at)


def _resolve(monitor: Monitor, reason: str, at: datetime) -> None:
    for alert in Alert.objects.triggered().filter(monitor=monitor):
        alert.resolve(reason=reason, at=at)
