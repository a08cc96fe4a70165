"""An incident with its whole timeline, to be kept elsewhere."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Final, NamedTuple

from django.utils import timezone

from .lengths import duration
from .markdown import escape, plain, render
from .models import Incident, State, TimelineEntry
from .timeline import in_order

_LINK: Final = re.compile(r'<a\b[^>]*?\bhref="([^"]*)"[^>]*>(.*?)</a>', re.DOTALL)
_COLOURS: Final = {
    Incident.Severity.MINOR: "#b07c00",
    Incident.Severity.MAJOR: "#a80f24",
    Incident.Severity.CRITICAL: "#a80f24",
}
_OVER: Final = "#0c7a5f"


class Export(NamedTuple):
    label: str
    content_type: str
    ending: str
    make: Callable[[Incident], str | bytes]


def as_markdown(incident: Incident) -> str:
    """Return a document: what it was, and what was done, the oldest first."""
    parts = [f"# {escape(incident.title)}", _facts(incident), "## Timeline"]
    parts += [_told(entry) for entry in in_order(incident)]
    return "\n\n".join(parts) + "\n"


def _facts(incident: Incident) -> str:
    rows = facts(incident).items()
    return "\n".join(f"- **{name}:** {escape(value)}" for name, value in rows)


def facts(incident: Incident) -> dict[str, str]:
    """What is known of it, in the order in which people ask."""
    until = incident.ended_at or timezone.now()
    return {
        "State": incident.get_state_display(),
        "Severity": incident.severity_label,
        "Source": incident.badge or incident.get_source_display(),
        "Began": _moment(incident.started_at),
        "Ended": _moment(incident.ended_at) if incident.ended_at else "not yet",
        "Lasted" if incident.ended_at else "Lasting": duration(
            until - incident.started_at
        ),
        "Owner": str(incident.owner or "nobody"),
        "Labels": ", ".join(str(label) for label in incident.labels.all()) or "none",
        "Monitors": ", ".join(_affected(incident)) or "none",
    }


def _affected(incident: Incident) -> list[str]:
    """Each monitor with what it suffered last."""
    impacts = incident.impacts.select_related("monitor").order_by("started_at", "pk")
    last = {impact.monitor: impact.get_level_display().lower() for impact in impacts}
    return [f"{monitor} ({level})" for monitor, level in last.items()]


def _told(entry: TimelineEntry) -> str:
    """What was written is quoted as it was written."""
    who = f"**{_moment(entry.happened_at)}**, {escape(entry.actor)}"
    body = entry.facts.get("body")
    if body is None:
        return f"{who}: {escape(entry.text)}"
    quoted = "\n".join(f"> {line}".rstrip() for line in body.splitlines())
    return f"{who}: {entry.get_kind_display()}\n\n{quoted}"


def as_pdf(incident: Incident) -> bytes:
    """Return the same to be printed: words as people read them, without markup."""
    # What prints takes long to load, and mostly nobody prints.
    printing = import_module("incidents.printing")
    is_over = incident.state == State.RESOLVED
    severity = Incident.Severity(incident.severity)
    record = printing.Record(
        kicker=f"Incident {incident.pk}",
        title=incident.title,
        colour=_OVER if is_over else _COLOURS[severity],
        facts=facts(incident),
        entries=[printing.Entry(*_printed(entry)) for entry in in_order(incident)],
        printed_at=timezone.now(),
    )
    made: bytes = printing.pdf(record)
    return made


def _printed(entry: TimelineEntry) -> tuple[datetime, str, str, str]:
    """When and by whom it was, what it was, and what was written."""
    body = entry.facts.get("body")
    if body is None:
        return entry.happened_at, entry.actor, entry.text, ""
    return entry.happened_at, entry.actor, entry.get_kind_display(), _words(body)


def _words(body: str) -> str:
    """What Markdown says; paper cannot be clicked, so addresses stand in it."""
    html = render(body).replace("<li>", "<li>\N{BULLET} ")
    return plain(_LINK.sub(_spelled, html))


def _spelled(link: re.Match[str]) -> str:
    address, words = link.groups()
    return words if address in {words, f"mailto:{words}"} else f"{words} ({address})"


def as_json(incident: Incident) -> str:
    """Return the same for programs."""
    made = {
        "id": incident.pk,
        "title": incident.title,
        "state": incident.state,
        "severity": Incident.Severity(incident.severity).name.lower(),
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
    "markdown": Export("Markdown", "text/markdown; charset=utf-8", "md", as_markdown),
    "json": Export("JSON", "application/json", "json", as_json),
    "pdf": Export("PDF", "application/pdf", "pdf", as_pdf),
}
