from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from incidents import markdown
from incidents.lengths import duration
from outbox import templating

from .incident import Incident
from .state import State

# What a template may name, and what it stands for.
NAMES: Final = {
    "incident.title": "the title",
    "incident.state": "the state it has now, such as Identified",
    "incident.severity": "what its severity is called, such as Minor",
    "incident.url": "where people read on",
    "monitors": "the names of the monitors that are affected now",
    "duration": "how long it has lasted, such as 1 hour 5 minutes",
    "started_at": "when it began, in UTC",
}


class UpdateTemplate(models.Model):
    """Words for an update that are kept ready, in Markdown, with names in braces."""

    name = models.CharField(max_length=100, unique=True)
    state = models.CharField(
        max_length=15, choices=State.choices, default=State.INVESTIGATING
    )
    body = models.TextField(
        max_length=20_000,
        help_text="Markdown. Names in braces are filled in: "
        + ", ".join(f"{{{{{name}}}}}" for name in NAMES),
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if not self.body.strip():
            raise ValidationError({"body": "Write what people should know."})
        try:
            unknown = templating.unknown(self.body, NAMES)
        except templating.TemplateInvalid as error:
            raise ValidationError({"body": str(error)}) from error
        if unknown:
            there = ", ".join(NAMES)
            text = f"Nothing is known by the name {unknown[0]}; there are {there}."
            raise ValidationError({"body": text})

    def body_for(self, incident: Incident) -> str:
        """Return the Markdown of an update; no value of it can mean Markdown."""
        return templating.render(self.body, _values(incident), "text")


def _values(incident: Incident) -> dict[str, Any]:
    suffering = incident.impacts.filter(ended_at=None).select_related("monitor")
    ended = incident.ended_at or timezone.now()
    told = {
        "title": incident.title,
        "state": incident.get_state_display(),
        "severity": incident.severity_label,
        "url": incident.url,
    }
    return {
        "incident": {name: markdown.escape(value) for name, value in told.items()},
        "monitors": markdown.escape(", ".join(i.monitor.name for i in suffering)),
        "duration": duration(ended - incident.started_at),
        "started_at": f"{incident.started_at:%Y-%m-%d %H:%M} UTC",
    }
