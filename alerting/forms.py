"""What operators fill in to make a rule: a sentence, with units for its numbers."""

from typing import Any, ClassVar, Final, NamedTuple

from django import forms
from django.core.exceptions import ValidationError

from monitors.models import Label, Monitor
from monitors.models.severity import severity_choices

from .conditions.status import VALUES as STATUS_VALUES
from .models import AlertRule

MINUTES_A_DAY: Final = 24 * 60


class Asked(NamedTuple):
    """The field for the value of a kind, that for its window if it has one, and of
    how many minutes its unit is."""

    value: str
    window: str = ""
    minutes: int = 1


ASKED: Final = {
    "STATUS": Asked("status_value"),
    "LATENCY": Asked("latency_value", "p95_minutes"),
    "UPTIME": Asked("uptime_value"),
    "CERT_DAYS": Asked("cert_days_value"),
    "BURN_RATE": Asked("objective_value", "objective_days", MINUTES_A_DAY),
}
VALUES: Final = tuple(name for asked in ASKED.values() for name in asked[:2] if name)


def _number(usual: float, label: str) -> forms.FloatField:
    """A number that need not be given: only that of the chosen kind is asked for."""
    widget = forms.NumberInput(attrs={"step": "any"})
    return forms.FloatField(label=label, required=False, initial=usual, widget=widget)


class AlertRuleForm(forms.ModelForm):
    status_value = forms.ChoiceField(
        label="Status",
        required=False,
        choices=[(value, value) for value in STATUS_VALUES],
    )
    latency_value = _number(1000, "Latency in milliseconds")
    p95_minutes = forms.IntegerField(
        label="Minutes of the 95th percentile", required=False, initial=0, min_value=0
    )
    uptime_value = _number(99, "Uptime in percent")
    cert_days_value = _number(30, "Days left of the certificate")
    objective_value = _number(99.9, "Objective in percent")
    objective_days = _number(30, "Days of the objective")

    class Meta:
        model = AlertRule
        fields = [
            "name",
            "monitors",
            "labels",
            "watches_all",
            "alert_for",
            "includes_worse",
            "failure_threshold",
            "success_threshold",
            "unit",
            "severity",
            "create_incident",
            "incident_severity",
            "cooldown_seconds",
            "reopen_seconds",
            "triggers",
            "repeat_minutes",
            "description",
            "is_active",
        ]
        labels = {
            "monitors": "Monitors",
            "labels": "Labels",
            "watches_all": "Every monitor",
            "alert_for": "Trigger when",
            "failure_threshold": "For how long",
            "success_threshold": "Resolve after",
            "unit": "Checks or seconds",
            "create_incident": "Open an incident",
            "incident_severity": "Its severity",
            "cooldown_seconds": "Cooldown",
            "reopen_seconds": "Open the last one again within",
            "triggers": "Notify",
            "repeat_minutes": "Remind every",
            "description": "In short",
            "is_active": "Active",
        }
        help_texts = {
            "create_incident": "It closes by itself.",
            "triggers": "Told when it triggers and when it resolves.",
            "is_active": "Off means that nothing triggers; what is open resolves.",
        }
        widgets = {
            "triggers": forms.CheckboxSelectMultiple,
            "labels": forms.CheckboxSelectMultiple,
        }

    # The fields that a rule finds its monitors by.
    WATCHING: ClassVar = ("monitors", "labels", "watches_all")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "monitors" not in self.fields:
            return  # only shown
        current = Monitor.objects.current().defer("config")
        self.fields["monitors"].queryset = current  # type: ignore[attr-defined]
        self.fields["labels"].queryset = Label.objects.all()  # type: ignore[attr-defined]
        severity: Any = self.fields["incident_severity"]
        severity.choices = [severity.choices[0], *severity_choices()]
        if self.instance.pk:
            self._fill_in(self.instance)

    def _fill_in(self, rule: AlertRule) -> None:
        asked = ASKED.get(rule.alert_for)
        if asked is None:
            return
        self.initial.setdefault(asked.value, rule.alert_value)
        if asked.window and rule.window_minutes:
            window = rule.window_minutes / asked.minutes
            self.initial.setdefault(asked.window, _plain(window))

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        given, kind = self.cleaned_data, self.cleaned_data.get("alert_for", "")
        if asked := ASKED.get(kind):
            self.instance.alert_value = _plain(given.get(asked.value))
            window = given.get(asked.window) or 0
            self.instance.window_minutes = round(window * asked.minutes)
        if kind != AlertRule.For.STATUS:
            given["includes_worse"] = False  # it cannot be seen
        if not self.errors and not any(given.get(name) for name in self.WATCHING):
            text = "Choose monitors or labels, or tick Every monitor."
            self.add_error("monitors", text)
        return cleaned

    def add_error(self, field: str | None, error: Any) -> None:
        """Put what the model says of a value to the field that it was given in."""
        found = getattr(error, "error_dict", {})
        asked = ASKED.get(self.data.get("alert_for", ""), ASKED["STATUS"])
        places = {"alert_value": asked.value, "window_minutes": asked.window}
        for name, place in places.items():
            for text in ValidationError(found.pop(name, [])).messages:
                if not place or place not in self.errors:
                    super().add_error(place or None, text)
        if not hasattr(error, "error_dict") or error.error_dict:
            super().add_error(field, error)


def _plain(value: Any) -> str:
    """The value as a rule keeps it: 1000, not 1000.0."""
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)
