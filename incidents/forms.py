"""What operators fill in about incidents."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib.auth.models import Group, User
from django.db.models import Q, QuerySet
from django.http import QueryDict
from django.utils import timezone

from monitors.models import Monitor

from .fields import Later, Moment, Words, seen_by, unless_shown
from .models import (
    Impact,
    Incident,
    IncidentUpdate,
    State,
    UpdateTemplate,
)
from .severity_admin import severity_field

PROMISES = [("", "No promise"), ("30", "30 min"), ("60", "1 h"), ("120", "2 h")]


class OpenForm(forms.ModelForm):
    """What an incident begins with; its summary becomes the first update."""

    # Who opens it; set where the form is made for a request.
    user: User
    summary = Words(
        widget=forms.Textarea(attrs={"rows": 6}),
        max_length=20_000,
        help_text="Markdown. The first update: what people notice, and that you are "
        "on it.",
    )
    started_at = Moment(
        label="Began at",
        initial=timezone.now,
        help_text="UTC. When people began to notice, which may be earlier than now.",
    )

    severity = severity_field()
    ended_at = Moment(
        label="Ended at",
        required=False,
        help_text="UTC. Only for what is over: it is told on the pages, nobody gets a "
        "message.",
    )
    closing = Words(
        label="How it ended",
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=20_000,
        required=False,
        help_text="Markdown. The last update of what is over.",
    )
    is_quiet = forms.BooleanField(label="Page only, tell nobody", required=False)
    is_draft = forms.BooleanField(
        label="As a draft",
        required=False,
        help_text="Nobody outside sees it until it is published: its pages can be "
        "chosen first.",
    )

    class Meta:
        model = Incident
        fields = ["title", "summary", "started_at", "severity", "owner", "labels"]
        fields += ["groups"]
        widgets = dict.fromkeys(("labels", "groups"), forms.CheckboxSelectMultiple)
        labels = {"groups": "Seen by"}
        help_texts = {
            "groups": "Nobody else sees it, and it is never public. None: everybody."
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offer_owners(self)

    def clean(self) -> dict[str, Any] | None:
        said = super().clean() or {}
        began, ended = said.get("started_at"), said.get("ended_at")
        if began and ended and ended < began:
            self.add_error("ended_at", "It had not begun by then.")
        if said.get("closing") and not ended:
            self.add_error("closing", "Only what is over has a last update.")
        return said

    def clean_groups(self) -> QuerySet[Group]:
        return seen_by(self.cleaned_data["groups"], self.user)


def impact_name(impact: Impact) -> str:
    """The name of the field that changes what a monitor suffers."""
    return f"impact_{impact.monitor_id}"


def shown_name(impact: Impact) -> str:
    """The name of the field that says what it was when the page was made."""
    return f"was_{impact_name(impact)}"


def suffering(incident: Any) -> list[Impact]:
    """What it does to monitors now, of an incident as the admin reads it."""
    return [impact for impact in incident.every_impact if not impact.ended_at]


def update_form(incident: Any, *args: Any, **kwargs: Any) -> "UpdateForm":
    """The form of an update, with what the monitors suffer now."""
    return UpdateForm(*args, suffering=suffering(incident), **kwargs)


def show_now(incident: Any, posted: QueryDict) -> None:
    """Let what was posted say what monitors suffer now, where nobody chose else."""
    for impact in suffering(incident):
        name, shown = impact_name(impact), shown_name(impact)
        if posted.get(name) == posted.get(shown):
            posted[name] = impact.level
        posted[shown] = impact.level


class UpdateForm(forms.Form):
    state = forms.ChoiceField(choices=State.choices, widget=forms.RadioSelect)
    body = Words(
        label="What to say",
        widget=forms.Textarea(attrs={"rows": 5, "accesskey": "u"}),
        max_length=20_000,
    )
    at = Moment(label="At", required=False)
    publish_at = Later(label="Publish at", required=False)
    next_update = forms.TypedChoiceField(
        label="Next update in",
        choices=PROMISES,
        coerce=lambda minutes: timedelta(minutes=int(minutes)),
        empty_value=None,
        required=False,
    )
    is_quiet = forms.BooleanField(label="Page only, tell nobody", required=False)
    template = forms.ModelChoiceField(
        UpdateTemplate.objects.all(), required=False, empty_label="Template"
    )
    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, suffering: Sequence[Impact], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.suffering = suffering
        for impact in suffering:
            self.fields[impact_name(impact)] = forms.ChoiceField(
                label=str(impact.monitor),
                choices=[*Impact.Level.choices, ("UP", "Up")],
                initial=impact.level,
                required=False,
            )
            self.fields[shown_name(impact)] = forms.CharField(
                widget=forms.HiddenInput, initial=impact.level, required=False
            )

    @property
    def impact_fields(self) -> list[forms.BoundField]:
        return [self[impact_name(impact)] for impact in self.suffering]

    @property
    def shown_fields(self) -> list[forms.BoundField]:
        return [self[shown_name(impact)] for impact in self.suffering]

    @property
    def impacts(self) -> dict[Monitor, str]:
        """What the update changes: levels by monitor, empty if it is spared."""
        chosen = {
            impact.monitor: (self.cleaned_data.get(impact_name(impact)), impact.level)
            for impact in self.suffering
        }
        return {
            monitor: "" if level == "UP" else level
            for monitor, (level, was) in chosen.items()
            if level and level != was
        }

    def clean(self) -> dict[str, Any] | None:
        said = super().clean()
        if said and said.get("at") and said.get("publish_at"):
            self.add_error("at", "Say either when it was, or when it is to be told.")
        if said:
            self._refuse_unfit(said)
        return said

    def _refuse_unfit(self, said: dict[str, Any]) -> None:
        """What ends an incident promises nothing, and nothing is affected any more."""
        is_over = said.get("state") == State.RESOLVED
        if said.get("next_update") and is_over:
            self.add_error("next_update", "Only what ends nothing can promise more.")
        if is_over and any(self.impacts.values()):
            self.add_error(
                "state", "When it is resolved, nothing is affected any more."
            )


class EditForm(forms.Form):
    """What an update is to say instead."""

    state = forms.ChoiceField(choices=State.choices)
    body = Words(
        label="What to say",
        widget=forms.Textarea(attrs={"rows": 5}),
        max_length=20_000,
    )
    at = Moment(label="At", help_text="UTC")
    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, update: IncidentUpdate, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.update = update
        if update.publish_at:
            del self.fields["at"]
        if update.is_internal:
            del self.fields["state"]

    def clean_at(self) -> datetime:
        return unless_shown(self.cleaned_data["at"], self.update.at)


class FactsForm(forms.ModelForm):
    version = forms.IntegerField(widget=forms.HiddenInput)
    started_at = Moment(label="Began", help_text="UTC")
    severity = severity_field()

    class Meta:
        model = Incident
        fields = ["title", "severity", "started_at", "owner", "labels"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offer_owners(self)

    def clean_started_at(self) -> datetime:
        at = unless_shown(self.cleaned_data["started_at"], self.instance.started_at)
        if self.instance.ended_at and at > self.instance.ended_at:
            raise forms.ValidationError("It had ended by then.")
        return at


def offer_owners(form: forms.ModelForm) -> None:
    """Let those be chosen who can deal with it, and who does so far."""
    can = Q(is_staff=True, is_active=True)
    offered = User.objects.filter(can | Q(pk=form.instance.owner_id))
    form.fields["owner"].queryset = offered  # type: ignore[attr-defined]


class ImpactForm(forms.Form):
    monitor = forms.ModelChoiceField(Monitor.objects.none())
    level = forms.ChoiceField(label="Impact", choices=Impact.Level.choices)
    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, incident: Incident, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.incident = incident
        choice = self.fields["monitor"]
        choice.queryset = Monitor.objects.current()  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any] | None:
        if not self.incident.is_open:
            text = "It is resolved; write an update to reopen it first."
            raise forms.ValidationError(text)
        return super().clean()
