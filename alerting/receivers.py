from datetime import datetime
from typing import Any

from monitors.models import Monitor
from monitors.recording import Recorded

from . import evaluation
from .models import Alert, AlertRule, RuleState


def evaluate(results: list[Recorded], **kwargs: Any) -> None:
    evaluation.evaluate(results)


def resolve_paused(monitor: Monitor, at: datetime, **kwargs: Any) -> None:
    _resolve(monitor, "The monitor was paused.", at)


def resolve_retired(monitor: Monitor, at: datetime, **kwargs: Any) -> None:
    _resolve(monitor, "The monitor was deleted.", at)


def leave_unlabelled(monitor: Monitor, at: datetime, **kwargs: Any) -> None:
    """Resolve what watched the monitor by a label that it has lost."""
    watching = AlertRule.objects.watching(monitor)
    for alert in (
        Alert.objects.triggered().filter(monitor=monitor).exclude(rule__in=watching)
    ):
        alert.resolve(reason="The monitor was removed from the rule.", at=at)
    RuleState.objects.filter(monitor=monitor).exclude(rule__in=watching).delete()


def _resolve(monitor: Monitor, reason: str, at: datetime) -> None:
    for alert in Alert.objects.triggered().filter(monitor=monitor):
        alert.resolve(reason=reason, at=at)
