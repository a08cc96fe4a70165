"""What automatic updates say, as the peers' documents prescribe it."""

from datetime import timedelta

from alerting.models import Alert

from .lengths import count, duration
from .markdown import escape


def triggered(alert: Alert) -> str:
    """The first update of an automatic incident."""
    return "\n\n".join(
        [
            escape(alert.description) or "Alert triggered",
            _table(
                ("Monitor Name", alert.monitor_name),
                ("Monitor Tag", alert.monitor_tag),
                ("Incident Status", "TRIGGERED"),
                ("Severity", alert.severity),
                ("Alert Type", alert.alert_for),
                ("Alert Value", alert.alert_value),
                ("Failure Threshold", alert.failure_threshold),
            ),
        ]
    )


def resolved(alert: Alert, reason: str, length: timedelta) -> str:
    """The closing update of an automatic incident; `reason` is said if not empty."""
    total = f"The alert has been resolved, Total duration: {duration(length)}"
    return "\n\n".join(
        filter(
            None,
            [
                total,
                escape(reason),
                "#### Alert Details",
                _table(
                    ("Monitor Name", alert.monitor_name),
                    ("Incident Status", "RESOLVED"),
                    ("Monitor Tag", alert.monitor_tag),
                    ("Alert Type", alert.alert_for),
                    ("Alert Value", alert.alert_value),
                    ("Severity", alert.severity),
                    ("Failure Threshold", alert.failure_threshold),
                    ("Success Threshold", alert.success_threshold),
                ),
            ],
        )
    )


def reopened(alert: Alert) -> str:
    return (
        f"Reopened: the checks of {escape(alert.monitor_name)} still fail. "
        "This incident resolves by itself when they pass again."
    )


def again(alert: Alert, gap: timedelta) -> str:
    """The update of an incident that goes on because it failed again so soon."""
    return (
        f"Reopened: {escape(alert.monitor_name)} fails again, {duration(gap)} after "
        "this incident had ended. It resolves by itself when the checks pass again."
    )


def storm_title(monitors: int) -> str:
    return f"{count(monitors, 'service')} {'is' if monitors == 1 else 'are'} failing"


def storm() -> str:
    """The first update of the one incident for everything that fails at once."""
    return (
        "Many services began to fail at about the same time. This incident is about "
        "all of them, and resolves by itself when the last of them works again."
    )


def storm_over(monitors: int, length: timedelta) -> str:
    return (
        f"All of the {count(monitors, 'service')} pass their checks again, Total "
        f"duration: {duration(length)}"
    )


def _table(*rows: tuple[str, object]) -> str:
    lines = ["| Setting | Value |", "| :--- | :--- |"]
    lines += [f"| **{name}** | {escape(str(value))} |" for name, value in rows]
    return "\n".join(lines)
