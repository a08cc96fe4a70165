from datetime import datetime
from typing import Any

from monitors.models import CheckResult, Monitor

from . import evaluation
from .models import Alert


def evaluate(results: list[CheckResult], **kwargs: Any) -> None:
    evaluation.evaluate(result.monitor_id for result in results)


def resolve_paused(monitor: Monitor, at: datetime, **kwargs: Any) -> None:
    _resolve(monitor, "The monitor was paused.", at)


def resolve_retired(monitor: Monitor, at: datetime, **kwargs: Any) -> None:
    _resolve(monitor, "The monitor was deleted.", at)


def _resolve(monitor: Monitor, reason: str, at: datetime) -> None:
    for alert in Alert.objects.triggered().filter(monitor=monitor):
        alert.resolve(reason=reason, at=at)
