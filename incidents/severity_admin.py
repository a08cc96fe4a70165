"""What severities are called: where it is set, and how forms offer it."""

from django import forms
from django.contrib import admin

from access import desk
from monitors.models import IncidentSeverity as Severity
from monitors.models.severity import severity_choices

from .models import SeverityLabels


def severity_field() -> forms.TypedChoiceField:
    return forms.TypedChoiceField(
        choices=severity_choices, coerce=int, initial=Severity.MINOR
    )


@admin.register(SeverityLabels)
class SeverityLabelsAdmin(desk.OneRowDesk):
    fields = ["minor", "major", "critical"]
