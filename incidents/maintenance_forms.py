"""What operators fill in about maintenances, and about each of their dates."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from access.forms import Lines
from monitors import zones

from .fields import Words
from .models import Maintenance
from .models.maintenance import MOST_REMINDERS
from .recurrence import RecurrenceInvalid, check_exdates, part_exdates

_CODES: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAYS: Final = (
    *("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
)
_WEEKDAYS: Final = "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"
_WEEKLY: Final = re.compile(r"FREQ=WEEKLY;BYDAY=((?:MO|TU|WE|TH|FR|SA|SU|,)+)")
_MONTHLY: Final = re.compile(r"FREQ=MONTHLY;BY(?:DAY=(-?\d)[A-Z]{2}|MONTHDAY=\d+)")
_REPEATS: Final = [
    ("once", "It happens once"),
    ("daily", "Every day"),
    ("weekdays", "Every weekday, Monday to Friday"),
    ("weekly", "Every week"),
    ("monthly", "Every month"),
    ("rule", "By a rule"),
]
_NTH: Final = [
    ("", "on the day of the month of the start"),
    *((str(n), f"on the {word}") for n, word in ((1, "first"), (2, "second"))),
    *((str(n), f"on the {word}") for n, word in ((3, "third"), (4, "fourth"))),
    ("-1", "on the last"),
]
# The form's own names of what the model judges.
_FIELDS: Final = {
    "starts_at": "starts",
    "ends_at": "ends",
    "rrule": "rule",
    "exdates": "left_out",
    "reminders": "minutes_before",
}
# What says when it happens; without a change of these the dates stay as they are.
_TIMING: Final = {
    *("starts", "ends", "time_zone"),
    *("repeats", "weekdays", "nth", "rule", "left_out"),
}
_SHOW_DATES: Final = "_dates"


class MinuteInput(forms.DateTimeInput):
    """The browser's own field, which asks for seconds only where there are any."""

    def __init__(self) -> None:
        attrs = {"type": "datetime-local"}
        super().__init__(attrs=attrs, format="%Y-%m-%dT%H:%M:%S")


class PlannedTime(forms.DateTimeField):
    """A moment that something can be planned for, in UTC."""

    widget = MinuteInput

    def clean(self, value: Any) -> datetime | None:
        at: datetime | None = super().clean(value)
        if at and not 1970 <= at.year < 2100:
            raise ValidationError("It must lie in the years 1970 to 2099.")
        return at


class WallTime(PlannedTime):
    """A date and time as a clock on the wall shows them: of no zone."""

    def to_python(self, value: Any) -> datetime | None:
        at: datetime | None = super().to_python(value)
        return at and at.replace(tzinfo=None)


class RuleField(forms.CharField):
    """A rule, with lines of its own for what it leaves out, if any."""

    widget = forms.Textarea

    def to_python(self, value: Any) -> str:
        # Browsers end lines as mails do.
        return str(super().to_python(value)).replace("\r\n", "\n")


class MaintenanceForm(forms.ModelForm):
    description = Words(
        widget=forms.Textarea(attrs={"rows": 6}),
        max_length=20_000,
        help_text="Markdown. What people should know.",
    )
    starts = WallTime(label="Starts", help_text="In the time zone below.")
    ends = WallTime(label="Ends", required=False, help_text="If it happens once.")
    time_zone = forms.ChoiceField(choices=zones.choices, initial="UTC")
    repeats = forms.ChoiceField(
        choices=_REPEATS, widget=forms.RadioSelect, initial="once"
    )
    weekdays = forms.MultipleChoiceField(
        label="Every week on",
        choices=list(zip(_CODES, _DAYS, strict=True)),
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="The weekday of the start if none is chosen.",
    )
    nth = forms.ChoiceField(
        label="Every month",
        choices=_NTH,
        required=False,
        help_text="First to last: of the weekday of the start.",
    )
    rule = RuleField(
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        max_length=500,
        required=False,
        help_text="As RFC 5545 writes it, such as FREQ=MONTHLY;BYDAY=2TU.",
    )
    left_out = Lines(
        label="Except on",
        widget=forms.Textarea(attrs={"rows": 3}),
        required=False,
        help_text="Dates such as 2026-12-25, or 2026-12-25T02:00, one a line.",
    )
    minutes_before = forms.CharField(
        label="Remind",
        required=False,
        help_text="Minutes before the start, such as 1440, 60; up to "
        f"{MOST_REMINDERS}, empty for none.",
    )

    # What was refused when it was to be saved.
    refused: ValidationError | None = None

    class Meta:
        model = Maintenance
        fields = [
            *("title", "description", "time_zone", "duration_minutes", "wall_clock"),
            *("sends_reminders", "verify_before_completion", "verify_minutes"),
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        one = self.instance
        told: dict[str, Any] = {"minutes_before": ", ".join(map(str, one.reminders))}
        if one.pk:
            told |= {"left_out": one.exdates, **_times(one), **_preset(one)}
            self._keep_zone(one.time_zone)
        for name, value in told.items():
            self.initial.setdefault(name, value)

    def _keep_zone(self, name: str) -> None:
        """Show a zone that there is no more, so that none is chosen instead of it."""
        if name not in zones.names() and "time_zone" in self.fields:
            choice: Any = self.fields["time_zone"]
            choice.choices = [(name, name), *zones.choices()]

    @property
    def is_retimed(self) -> bool:
        """Whether anything was changed that says when it happens."""
        return not _TIMING.isdisjoint(self.changed_data)

    def is_valid(self) -> bool:
        """What only asks for its dates is shown again, and not saved."""
        return super().is_valid() and _SHOW_DATES not in self.data

    @property
    def _is_shown(self) -> bool:
        return _SHOW_DATES in self.data and not self.errors

    def dates(self) -> list[tuple[datetime, datetime]]:
        """Return the next ten dates, if they were asked for and there are any."""
        return self.instance.next_dates(10) if self._is_shown else []

    def warnings(self) -> list[str]:
        """Return what may not be meant, if the dates were asked for."""
        return self.instance.warnings if self._is_shown else []

    def clean_left_out(self) -> list[str]:
        texts: list[str] = self.cleaned_data["left_out"]
        if "left_out" in self.changed_data:
            _check(texts)
        return texts

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("repeats") == "once":
            cleaned["duration_minutes"] = None
        # A field that is wrong already says so itself.
        if self.is_retimed and not _TIMING & self.errors.keys():
            self._plan(cleaned, {*self.changed_data})
        self.instance.reminders = self._minutes(cleaned.get("minutes_before", ""))
        return cleaned

    def _plan(self, said: Mapping[str, Any], changed: set[str]) -> None:
        """Take what was changed; a time that was not stays the moment that it is."""
        one, zone = self.instance, ZoneInfo(said["time_zone"])
        once = said["repeats"] == "once"
        if changed & {"starts", "time_zone"}:
            one.starts_at = _moment(said["starts"], zone)
            one.local_start = said["starts"].isoformat()
        if changed & {"ends", "time_zone"}:
            one.ends_at = said["ends"] and _moment(said["ends"], zone)
        one.rrule, left_out = self._parted(_rule(said, said["starts"]))
        one.exdates = [] if once else [*said["left_out"], *left_out]
        if once:
            one.local_start = ""
        else:
            one.ends_at = None
        if said["repeats"] == "rule" and not one.rrule:
            self.add_error("rule", "Write a rule.")

    def _parted(self, rule: str) -> tuple[str, list[str]]:
        """Return the rule, and what lines of it leave out."""
        try:
            return part_exdates(rule, self.cleaned_data["time_zone"])
        except RecurrenceInvalid as error:
            self.add_error("rule", str(error))
            return rule, []

    def _minutes(self, text: str) -> list[int]:
        parts = text.replace(",", " ").split()
        if not all(re.fullmatch(r"\d{1,6}", part) for part in parts):
            self.add_error("minutes_before", "Give whole numbers, such as 1440, 60.")
            return []
        return [int(part) for part in parts]

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.refused:
            self._update_errors(self.refused)
        one = self.instance
        if self.errors or not self.is_retimed:
            return
        if one.ends_at and one.ends_at <= timezone.now():
            self.add_error("ends", "It would be over already.")
        if one.rrule and not one.next_dates(1):
            self.add_error("rule", "There is no date to come.")
        if one.rrule and not {"left_out", "rule"}.isdisjoint(self.changed_data):
            for idle in one.recurrence().idle_exdates:
                self.add_error("left_out", idle)

    def _update_errors(self, errors: ValidationError) -> None:
        """Say what the model refuses beside the fields that there are here."""
        if hasattr(errors, "error_dict"):
            found = errors.error_dict.items()
            errors.error_dict = {_FIELDS.get(name, name): why for name, why in found}
        super()._update_errors(errors)  # type: ignore[misc]


def _check(left_out: Iterable[str]) -> None:
    try:
        check_exdates(left_out)
    except RecurrenceInvalid as error:
        raise ValidationError(str(error)) from error


def _moment(local: datetime, zone: ZoneInfo) -> datetime:
    return local.replace(tzinfo=zone).astimezone(UTC)


def _times(one: Maintenance) -> dict[str, Any]:
    """The start and the end as the clock of the zone shows them."""
    ends = one.ends_at and one.ends_at.astimezone(one.zone).replace(tzinfo=None)
    return {"starts": one.first_start.replace(tzinfo=None), "ends": ends}


def _preset(one: Maintenance) -> dict[str, Any]:
    """Return what is to be ticked; a rule that cannot be is shown as it is."""
    ticked = _ticked(one.rrule)
    is_same = _rule(ticked, one.first_start) == one.rrule
    return ticked if is_same else {"repeats": "rule", "rule": one.rrule}


def _ticked(rrule: str) -> dict[str, Any]:
    """Return what comes nearest to a rule."""
    if rrule in ("", "FREQ=DAILY"):
        return {"repeats": "daily" if rrule else "once"}
    if rrule == _WEEKDAYS:
        return {"repeats": "weekdays"}
    if weekly := _WEEKLY.fullmatch(rrule):
        return {"repeats": "weekly", "weekdays": weekly[1].split(",")}
    monthly = _MONTHLY.fullmatch(rrule)
    nth = monthly[1] or "" if monthly else None
    return {"repeats": "monthly", "nth": nth} if nth in dict(_NTH) else {}


def _rule(chosen: Mapping[str, Any], local: datetime) -> str:
    """Return the rule that was ticked, for a start."""
    code = _CODES[local.weekday()]
    days = [day for day in _CODES if day in chosen.get("weekdays", ())] or [code]
    nth = chosen.get("nth")
    monthly = f"BYDAY={nth}{code}" if nth else f"BYMONTHDAY={local.day}"
    rules = {
        "daily": "FREQ=DAILY",
        "weekdays": _WEEKDAYS,
        "weekly": f"FREQ=WEEKLY;BYDAY={','.join(days)}",
        "monthly": f"FREQ=MONTHLY;{monthly}",
        "rule": chosen.get("rule", "").strip(),
    }
    return rules.get(chosen.get("repeats", ""), "")


class MessageForm(forms.Form):
    """What people are told with a step; the usual words if it is left out."""

    body = Words(
        label="What to say",
        widget=forms.Textarea(attrs={"rows": 4}),
        max_length=20_000,
        required=False,
        help_text="Markdown. Empty, the usual words are told.",
    )


class NoteForm(forms.Form):
    body = Words(
        label="What to say",
        widget=forms.Textarea(attrs={"rows": 4}),
        max_length=20_000,
        help_text="Markdown.",
    )


class ExtendForm(MessageForm):
    ends_at = PlannedTime(label="Until", help_text="In UTC.")
    field_order = ("ends_at", "body")


class MoveForm(MessageForm):
    starts_at = PlannedTime(label="From", help_text="In UTC.")
    ends_at = PlannedTime(label="Until", help_text="In UTC.")
    field_order = ("starts_at", "ends_at", "body")


class CancelForm(forms.Form):
    reason = forms.CharField(
        max_length=500, required=False, help_text="Readers are told of it."
    )
