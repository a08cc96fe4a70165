"""What automatic updates say, as the peers' documents prescribe it."""

from datetime import timedelta

from alerting.models import Alert

from .markdown import escape


def duration(length: timedelta) -> str:
    """Return "47 minutes", "1 hour 5 minutes" or "40 seconds"; never negative."""
    seconds = max(0, round(length.total_seconds()))
    if seconds < 60:
        return _count(seconds, "second")
    minutes = seconds // 60
    days, minutes = divmod(minutes, 24 * 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(days, "day"), (hours, "hour"), (minutes, "minute")]
    return " ".join(_count(n, unit) for n, unit in parts if n)


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


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


def _table(*rows: tuple[str, object]) -> str:
    lines = ["| Setting | Value |", "| :--- | :--- |"]
    lines += [f"| **{name}** | {escape(str(value))} |" for name, value in rows]
    return "\n".join(lines)
