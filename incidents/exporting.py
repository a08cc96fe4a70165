"""An incident with its whole timeline, to be kept elsewhere."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from django.utils import timezone

from .lengths import duration
from .markdown import escape
from .models import Incident, TimelineEntry
from .timeline import in_order


class Export(NamedTuple):
    content_type: str
    ending: str
    make: Callable[[Incident], str]


def as_markdown(incident: Incident) -> str:
    """Return a document: what it was, and what was done, the oldest first."""
    parts = [f"# {escape(incident.title)}", _facts(incident), "## Timeline"]
    parts += [_told(entry) for entry in in_order(incident)]
    return "\n\n".join(parts) + "\n"


def _facts(incident: Incident) -> str:
    until = incident.ended_at or timezone.now()
    lasting = duration(until - incident.started_at)
    rows = {
        "State": incident.get_state_display(),
        "Severity": incident.get_severity_display(),
        "Began": _moment(incident.started_at),
        "Ended": _moment(incident.ended_at) if incident.ended_at else "not yet",
        "Lasted" if incident.ended_at else "Lasting": lasting,
    }
    return "\n".join(f"- **{name}:** {value}" for name, value in rows.items())


def _told(entry: TimelineEntry) -> str:
    """What was written is quoted as it was written."""
    who = f"**{_moment(entry.happened_at)}**, {escape(entry.actor)}"
    body = entry.facts.get("body")
    if body is None:
        return f"{who}: {escape(entry.text)}"
    quoted = "\n".join(f"> {line}".rstrip() for line in body.splitlines())
    return f"{who}: {entry.get_kind_display()}\n\n{quoted}"


def as_json(incident: Incident) -> str:
    """Return the same for programs."""
    made = {
        "id": incident.pk,
        "title": incident.title,
        "state": incident.state,
        "severity": incident.get_severity_display().lower(),
        "started_at": _iso(incident.started_at),
        "ended_at": _iso(incident.ended_at),
        "timeline": [_row(entry) for entry in in_order(incident)],
    }
    return json.dumps(made, ensure_ascii=False, indent=2) + "\n"


def _row(entry: TimelineEntry) -> dict[str, Any]:
    return {
        "happened_at": _iso(entry.happened_at),
        "recorded_at": _iso(entry.recorded_at),
        "kind": entry.kind,
        "actor": entry.actor,
        "text": entry.text,
        "facts": entry.facts,
    }


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _iso(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None


EXPORTS: Final[Mapping[str, Export]] = {
    "markdown": Export("text/markdown; charset=utf-8", "md", as_markdown),
    "json": Export("application/json", "json", as_json),
}
