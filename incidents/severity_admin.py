"""What severities are called: where it is set, and how forms and lists offer it."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from access import desk
from monitors.models import IncidentSeverity as Severity
from monitors.models.severity import severity_choices

from .models import Incident, SeverityLabels


def severity_field() -> forms.TypedChoiceField:
    return forms.TypedChoiceField(
        choices=severity_choices, coerce=int, initial=Severity.MINOR
    )


class SeverityFilter(admin.SimpleListFilter):
    title = "severity"
    parameter_name = "severity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(severity), name) for severity, name in severity_choices()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Incident]
    ) -> QuerySet[Incident]:
        chosen = dict(self.lookup_choices)
        asked = self.value()
        return queryset.filter(severity=int(asked)) if asked in chosen else queryset


@admin.register(SeverityLabels)
class SeverityLabelsAdmin(desk.OneRowDesk):
    fields = ["minor", "major", "critical"]
