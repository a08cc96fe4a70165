"""What operators fill in: monitors, corrections, and the time to be explained."""

import functools
from datetime import datetime
from typing import Any, Final

from django import forms
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from access.forms import KindForm, UTCInput

from . import zones
from .models import Correction, Label, Monitor
from .models.severity import severity_choices

# What to do about a moment that cannot be read.
UNREADABLE: Final = {"invalid": "Give a moment such as 2026-11-21T14:02:03, in UTC."}


class PreciseInput(UTCInput):
    """To the millisecond, where what stands in it is so exact, as intervals are."""

    supports_microseconds = True

    def format_value(self, value: Any) -> str | None:
        if isinstance(value, datetime):
            exact = value.microsecond >= 1000
            return value.isoformat(timespec="milliseconds" if exact else "seconds")
        return super().format_value(value)

    def get_context(
        self, name: str, value: Any, attrs: dict[str, Any] | None
    ) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        widget = context["widget"]
        if "." in (widget["value"] or ""):
            widget["attrs"]["step"] = "0.001"
        return context


class ZoneInput(forms.TextInput):
    """A zone to be typed: every one that there is is suggested."""

    def render(self, name: str, value: Any, *args: Any, **kwargs: Any) -> SafeString:
        typed = super().render(name, value, *args, **kwargs)
        return format_html('{}<datalist id="zones">{}</datalist>', typed, _zones())


@functools.cache
def _zones() -> SafeString:
    names = ((name,) for name in zones.names())
    return format_html_join("", '<option value="{}">', names)


class MonitorForm(KindForm):
    class Meta:
        model = Monitor
        fields = [
            "name",
            "tag",
            "kind",
            "is_active",
            "interval",
            "cron",
            "time_zone",
            "confirmations",
            "retry_interval",
            "degraded_counts",
            "parents",
            "labels",
            "owner",
            "incident_severity",
            "incident_drafts",
        ]
        labels = {
            "is_active": "Active",
            "cron": "Cron expression",
            "degraded_counts": "Degraded time",
            "incident_severity": "Severity",
            "incident_drafts": "Begin as drafts",
        }
        help_texts = {
            "interval": "Seconds from one check to the next, 5 to 86,400. It rests "
            "while there is a cron expression.",
        }
        widgets = {
            "labels": forms.CheckboxSelectMultiple,
            "cron": forms.TextInput(attrs={"spellcheck": "false"}),
            "time_zone": ZoneInput(
                attrs={"list": "zones", "autocomplete": "off", "spellcheck": "false"}
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.fields.keys() >= {"interval", "parents"}:
            # Beside a cron expression it need not be given.
            self.fields["interval"].required = False
            self._offer_parents(self.fields["parents"])
            self._offer_owners(self.fields["owner"])
            self._offer_severities(self.fields["incident_severity"])
            self._leave_to("incident_severity", "as its rule says")
            self._leave_to("incident_drafts", "as the settings say")

    def _offer_parents(self, choice: Any) -> None:
        current = Monitor.objects.current().defer("config")
        choice.queryset = current
        # Its own name is not offered, but refused with the reason if it comes.
        others = current.exclude(pk=self.instance.pk)
        choice.widget.choices = forms.ModelMultipleChoiceField(others).choices

    def _offer_owners(self, choice: Any) -> None:
        choice.queryset = get_user_model().objects.filter(
            Q(is_active=True) | Q(pk=self.instance.owner_id)
        )
        choice.empty_label = "nobody"

    def _offer_severities(self, choice: Any) -> None:
        choice.choices = severity_choices()

    def _leave_to(self, name: str, words: str) -> None:
        """Say what holds without a choice."""
        choice: Any = self.fields[name]
        choice.choices = [("", words), *(c for c in choice.choices if c[0] != "")]

    def clean_tag(self) -> str:
        # The constraint looks at a field that is not in the form, so that
        # Django's own validation passes over it.
        tag: str = self.cleaned_data["tag"]
        others = Monitor.objects.current().exclude(pk=self.instance.pk)
        if others.filter(tag=tag).exists():
            raise ValidationError("There is already a monitor with this tag.")
        return tag

    def clean_parents(self) -> list[Monitor]:
        parents = list(self.cleaned_data["parents"])
        if self.instance in parents:
            raise ValidationError("A monitor cannot be its own parent.")
        return parents

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        given = self.cleaned_data
        if "interval" in given and given["interval"] is None:
            if given.get("cron"):
                given["interval"] = self.instance.interval
            else:
                self.add_error("interval", "Give an interval or a cron expression.")
        return cleaned


class AddLabelForm(forms.Form):
    """One label for several monitors: one there is, or a new one."""

    label = forms.ModelChoiceField(
        Label.objects.all(), required=False, empty_label="a new one"
    )
    name = forms.CharField(
        label="New label",
        required=False,
        max_length=50,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        validators=Label._meta.get_field("name").validators,
        help_text="Lower-case letters, digits and hyphens, such as payments.",
    )

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        if not self.errors and bool(given.get("label")) == bool(given.get("name")):
            raise ValidationError("Choose a label, or give the name of a new one.")
        return given

    def chosen(self) -> Label:
        """The label, made if it is new."""
        if self.cleaned_data["label"]:
            found: Label = self.cleaned_data["label"]
            return found
        return Label.objects.get_or_create(name=self.cleaned_data["name"])[0]


class CorrectionForm(forms.ModelForm):
    started_at = forms.DateTimeField(
        label="From",
        widget=PreciseInput,
        help_text="UTC.",
        error_messages=UNREADABLE,
    )
    ended_at = forms.DateTimeField(
        label="Until",
        widget=PreciseInput,
        help_text="UTC. It has to be over.",
        error_messages=UNREADABLE,
    )

    class Meta:
        model = Correction
        fields = ["monitor", "started_at", "ended_at", "status", "reason"]
        labels = {"status": "What it was", "reason": "Why"}
        help_texts = {
            "status": "Maintenance, and what is left out, count neither as up nor as "
            "down.",
            "reason": "What happened, and how you know; for whoever reads it later.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "monitor" in self.fields:
            self._offer_monitors(self.fields["monitor"])

    def _offer_monitors(self, choice: Any) -> None:
        offered = Q(retired_at=None)
        # What is deleted is offered only to whom its own page sends here.
        asked = str(self.data.get("monitor") or self.initial.get("monitor") or "")
        if asked.isdecimal() and len(asked) < 19:
            offered |= Q(pk=asked)
        choice.queryset = Monitor.objects.filter(offered).defer("config")


class RangeForm(forms.Form):
    """From when until when; what is still to come is left out later."""

    begin = forms.DateTimeField(
        label="From, UTC", widget=PreciseInput, error_messages=UNREADABLE
    )
    end = forms.DateTimeField(
        label="Until, UTC", widget=PreciseInput, error_messages=UNREADABLE
    )

    def __init__(self, *args: Any, at: datetime, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.at = at

    def clean_begin(self) -> datetime:
        begin: datetime = self.cleaned_data["begin"]
        if begin >= self.at:
            raise ValidationError("This moment is still to come; times are UTC.")
        if begin.year < 2000:
            raise ValidationError("This moment lies before the year 2000.")
        return begin

    def clean(self) -> dict[str, Any]:
        begin, end = self.cleaned_data.get("begin"), self.cleaned_data.get("end")
        if begin and end and end <= begin:
            self.add_error("end", "The end has to be after the beginning.")
        return self.cleaned_data
