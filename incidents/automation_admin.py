"""The one page on which automatic incidents are kept in check."""

from typing import Any, Final

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from access import desk
from monitors.models.severity import severity_choices

from .models import Automation, badges

_PREFIX: Final = "severity_of_"


def _field(badge: str) -> str:
    """The name in the form of the severity that a source has."""
    return f"{_PREFIX}{badge.lower().replace(' ', '_')}"


class AutomationForm(forms.ModelForm):
    draft_sources = forms.MultipleChoiceField(
        label="Found by",
        choices=[(badge, badge) for badge in badges()],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="Whose incidents begin as drafts, if not all of them.",
    )

    class Meta:
        model = Automation
        fields = [
            "gathers_storms",
            "storm_percent",
            "storm_at_least",
            "storm_publish_after",
            "monthly_quota",
            "breaker_a_day",
            "reopen_seconds",
            "cooldown_seconds",
            "draft_mode",
            "draft_sources",
            "auto_publish_after",
            "auto_publish_min_severity",
            "auto_discard",
            "nag_after",
            "nag_again_after",
            "group_wait",
            "group_interval",
            "critical_bypasses",
            "tell",
        ]
        widgets = {
            "tell": forms.CheckboxSelectMultiple,
            "draft_mode": forms.RadioSelect,
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        least: Any = self.fields["auto_publish_min_severity"]
        least.choices = [least.choices[0], *severity_choices()]
        for badge, severity in self.instance.source_severities.items():
            self.initial.setdefault(_field(badge), severity)

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        chosen = {badge: self.cleaned_data.get(_field(badge)) for badge in badges()}
        self.instance.source_severities = {b: s for b, s in chosen.items() if s}
        return cleaned


def _severity_field(badge: str) -> forms.TypedChoiceField:
    return forms.TypedChoiceField(
        label=badge,
        choices=lambda: [("", "As the alert says"), *severity_choices()],
        coerce=int,
        empty_value=None,
        required=False,
    )


def _form() -> type[AutomationForm]:
    """Return the form with a severity for each source there is."""
    fields = {_field(badge): _severity_field(badge) for badge in badges()}
    metaclass: Any = type(AutomationForm)
    made: type[AutomationForm] = metaclass("AutomationForm", (AutomationForm,), fields)
    return made


@admin.register(Automation)
class AutomationAdmin(desk.OneRowDesk):
    form = _form()
    fieldsets = [
        (
            "Many failures at once",
            {
                "fields": [
                    "gathers_storms",
                    "storm_percent",
                    "storm_at_least",
                    "storm_publish_after",
                ],
            },
        ),
        (
            "How many there may be",
            {"fields": ["monthly_quota", "breaker_a_day"]},
        ),
        (
            "The same again",
            {
                "fields": ["reopen_seconds", "cooldown_seconds"],
                "description": "For each rule and monitor by itself. Only one incident "
                "of a rule and monitor is open at a time, in any case.",
            },
        ),
        (
            "Drafts",
            {
                "fields": [
                    "draft_mode",
                    "draft_sources",
                    "auto_publish_after",
                    "auto_publish_min_severity",
                    "auto_discard",
                ],
            },
        ),
        (
            "How severe they are",
            {
                "fields": [_field(badge) for badge in badges()],
                "description": "By what found them, if neither the monitor nor the "
                "rule says it.",
            },
        ),
        (
            "News of every open incident",
            {
                "fields": ["nag_after", "nag_again_after"],
                "description": "Its owner is asked, else the owners of the monitors "
                "it affects, else whoever is told below; also when a promised update "
                "is overdue.",
            },
        ),
        (
            "Mails to subscribers",
            {
                "fields": ["group_wait", "group_interval", "critical_bypasses"],
                "description": "News of automatic incidents alone. What a person "
                "writes or publishes goes out at once.",
            },
        ),
        ("Who is told", {"fields": ["tell"]}),
    ]

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        self.message_user(request, "Saved. What was refused is looked at again.")
        return HttpResponseRedirect(desk.address(obj))
