"""Where operators plan maintenances, and move each of their dates by hand."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString

from access import asking, desk
from access.forms import UTCInput
from monitors.admin import MonitorInline
from monitors.models import Monitor

from .models import Maintenance, MaintenanceImpact, MaintenanceSettings, Occurrence
from .models.maintenance import TIMES
from .models.occurrence import States

_CODES: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAYS: Final = (
    *("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
)
_WEEKDAYS: Final = "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"
_WEEKLY: Final = re.compile(r"FREQ=WEEKLY;BYDAY=((?:MO|TU|WE|TH|FR|SA|SU|,)+)")
_MONTHLY: Final = re.compile(r"FREQ=MONTHLY;(?:BYDAY=(-?\d)[A-Z]{2}|BYMONTHDAY=\d+)")
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
_FACTS: Final = (
    *("title", "description", *TIMES, "reminders", "sends_reminders"),
    *("verify_before_completion", "verify_minutes"),
)
_SHOW_DATES: Final = "_dates"
_LOOKS: Final = {
    "SCHEDULED": "no_data",
    "IN_PROGRESS": "maintenance",
    "VERIFYING": "maintenance",
    "COMPLETED": "up",
    "CANCELLED": "no_data",
}


def _zones() -> list[tuple[str, str]]:
    return [(name, name) for name in sorted(available_timezones())]


def _local_field(label: str, **more: Any) -> forms.DateTimeField:
    """A date and time as a clock on the wall shows them."""
    attrs = {"type": "datetime-local"}
    widget = forms.DateTimeInput(attrs=attrs, format="%Y-%m-%dT%H:%M")
    return forms.DateTimeField(label=label, widget=widget, **more)


class MaintenanceForm(forms.ModelForm):
    starts = _local_field("Starts", help_text="In the time zone below.")
    ends = _local_field("Ends", required=False, help_text="If it happens once.")
    time_zone = forms.ChoiceField(choices=_zones, initial="UTC")
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
    rule = forms.CharField(
        max_length=500,
        required=False,
        help_text="As RFC 5545 writes it, such as FREQ=MONTHLY;BYDAY=2TU.",
    )
    left_out = forms.CharField(
        label="Except on",
        widget=forms.Textarea(attrs={"rows": 3}),
        required=False,
        help_text="Dates such as 2026-12-25, one a line.",
    )
    minutes_before = forms.CharField(
        label="Remind",
        required=False,
        help_text="Minutes before the start, such as 1440, 60; empty for none.",
    )

    class Meta:
        model = Maintenance
        fields = [
            *("title", "description", "time_zone", "duration_minutes", "wall_clock"),
            *("sends_reminders", "verify_before_completion", "verify_minutes"),
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        one = self.instance
        told = {"minutes_before": ", ".join(map(str, one.reminders))}
        if one.pk:
            told |= {"left_out": "\n".join(one.exdates), **_times(one)}
        for name, value in {**told, **_preset(one.rrule)}.items():
            self.initial.setdefault(name, value)

    def is_valid(self) -> bool:
        """What only asks for its dates is shown again, and not saved."""
        return super().is_valid() and _SHOW_DATES not in self.data

    def dates(self) -> list[tuple[datetime, datetime]]:
        """Return the next ten dates, if they were asked for and there are any."""
        if _SHOW_DATES not in self.data or self.errors:
            return []
        return self.instance.next_dates(10)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        once = cleaned.get("repeats") == "once"
        if once:
            cleaned["duration_minutes"] = None
        starts = cleaned.get("starts")
        if starts and cleaned.get("time_zone"):
            self._plan(starts, None if not once else cleaned.get("ends"))
        self.instance.exdates = [] if once else cleaned.get("left_out", "").split()
        self.instance.reminders = self._minutes(cleaned.get("minutes_before", ""))
        return cleaned

    def _plan(self, starts: datetime, ends: datetime | None) -> None:
        zone = ZoneInfo(self.cleaned_data["time_zone"])
        local = starts.replace(tzinfo=None)
        one = self.instance
        one.rrule = _rule(self.cleaned_data, local)
        one.starts_at = local.replace(tzinfo=zone).astimezone(UTC)
        one.local_start = local.isoformat() if one.rrule else ""
        one.ends_at = ends and ends.replace(tzinfo=zone).astimezone(UTC)
        if self.cleaned_data.get("repeats") == "rule" and not one.rrule:
            self.add_error("rule", "Write a rule.")

    def _minutes(self, text: str) -> list[int]:
        parts = text.replace(",", " ").split()
        if not all(re.fullmatch(r"\d{1,6}", part) for part in parts):
            self.add_error("minutes_before", "Give whole numbers, such as 1440, 60.")
            return []
        return [int(part) for part in parts]

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        one = self.instance
        if self.errors or not {"starts", "ends", "repeats"} & {*self.changed_data}:
            return
        if one.ends_at and one.ends_at <= timezone.now():
            self.add_error("ends", "It would be over already.")
        if one.rrule and not one.next_dates(1):
            self.add_error("rule", "There is no date to come.")

    def _update_errors(self, errors: ValidationError) -> None:
        """Say what the model refuses beside the fields that there are here."""
        if hasattr(errors, "error_dict"):
            found = errors.error_dict.items()
            errors.error_dict = {_FIELDS.get(name, name): why for name, why in found}
        super()._update_errors(errors)  # type: ignore[misc]


def _times(one: Maintenance) -> dict[str, Any]:
    """The start and the end as the clock of the zone shows them."""
    ends = one.ends_at and one.ends_at.astimezone(one.zone).replace(tzinfo=None)
    return {"starts": one.first_start.replace(tzinfo=None), "ends": ends}


def _preset(rrule: str) -> dict[str, Any]:
    """Return what is to be ticked for a rule."""
    if rrule in ("", "FREQ=DAILY"):
        return {"repeats": "daily" if rrule else "once"}
    if rrule == _WEEKDAYS:
        return {"repeats": "weekdays"}
    if weekly := _WEEKLY.fullmatch(rrule):
        return {"repeats": "weekly", "weekdays": weekly[1].split(",")}
    if monthly := _MONTHLY.fullmatch(rrule):
        return {"repeats": "monthly", "nth": monthly[1] or ""}
    return {"repeats": "rule", "rule": rrule}


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


class ImpactInline(MonitorInline):
    model = MaintenanceImpact
    fields = ["monitor", "level"]
    extra = 1
    verbose_name = "monitor"
    verbose_name_plural = "monitors"


@admin.register(Maintenance)
class MaintenanceAdmin(desk.Retiring):
    form = MaintenanceForm
    inlines = [ImpactInline]
    change_form_template = "admin/incidents/maintenance/change_form.html"
    list_display = ["title", "when", "next_date"]
    list_filter = [desk.RetiredFilter]
    search_fields = ["title"]
    lede = "What is planned. Alerts are held and readers are told meanwhile."
    consequence = "What is planned or under way is cancelled, and readers are told."
    fieldsets = [
        (None, {"fields": ["title", "description"]}),
        (
            "When",
            {
                "fields": [
                    *("starts", "ends", "time_zone", "repeats", "weekdays", "nth"),
                    *("rule", "duration_minutes", "wall_clock", "left_out"),
                ],
            },
        ),
        ("Reminders", {"fields": ["sends_reminders", "minutes_before"]}),
        ("At the end", {"fields": ["verify_before_completion", "verify_minutes"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Maintenance]:
        return super().get_queryset(request).prefetch_related("occurrences")

    def save_model(
        self, request: HttpRequest, obj: Maintenance, form: Any, change: bool
    ) -> None:
        """It is saved as a whole, with what it does to monitors."""

    def save_related(
        self, request: HttpRequest, form: Any, formsets: Any, change: bool
    ) -> None:
        for formset in formsets:
            formset.save(commit=False)  # notes what has changed, for the log
        impacts = _impacts(formsets)
        planned, at = form.instance, timezone.now()
        if not change:
            planned.schedule(at=at, impacts=impacts)
            return
        facts = {name: getattr(planned, name) for name in _FACTS}
        try:
            planned.revise(
                at=at, impacts=impacts, author=desk.operator(request), **facts
            )
        except ValidationError as error:
            self.message_user(request, " ".join(error.messages), "error")

    def retire(self, shown: Maintenance, at: datetime) -> None:
        shown.retire(at=at)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        form = context["adminform"].form
        rows = [_row(begin, end, form.instance.zone) for begin, end in form_dates(form)]
        context["dates"] = desk.table("The next dates", ["From", "Until"], rows)
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="When")
    def when(self, maintenance: Maintenance) -> str | SafeString:
        return maintenance.describe() or desk.moment(maintenance.starts_at)

    @admin.display(description="Next")
    def next_date(self, maintenance: Maintenance) -> SafeString:
        ahead = [o for o in maintenance.occurrences.all() if o.is_open]
        first = min(ahead, key=lambda o: o.starts_at, default=None)
        words = f"{first.starts_at:%Y-%m-%d %H:%M} UTC" if first else ""
        return desk.link(first, words)


def form_dates(form: Any) -> list[tuple[datetime, datetime]]:
    """Return the dates that the form was asked for; a form to read has none."""
    return form.dates() if isinstance(form, MaintenanceForm) else []


def _row(begin: datetime, end: datetime, zone: ZoneInfo) -> list[str]:
    return [f"{at.astimezone(zone):%a %d %b %Y, %H:%M %Z}" for at in (begin, end)]


def _impacts(formsets: Any) -> dict[Monitor, str]:
    """Return what each monitor is to suffer; the last word on it counts."""
    rows = [form.cleaned_data for formset in formsets for form in formset.forms]
    named = [row for row in rows if row.get("monitor") and not row.get("DELETE")]
    return {row["monitor"]: row["level"] for row in named}


class ExtendForm(forms.Form):
    ends_at = _local_field("Until", help_text="In UTC.")


class MoveForm(forms.Form):
    starts_at = forms.DateTimeField(label="From", widget=UTCInput, help_text="In UTC.")
    ends_at = forms.DateTimeField(label="Until", widget=UTCInput, help_text="In UTC.")


class CancelForm(forms.Form):
    reason = forms.CharField(
        max_length=500, required=False, help_text="Readers are told of it."
    )


@admin.register(Occurrence)
class OccurrenceAdmin(desk.Log):
    actions = ["start", "move", "extend", "verify", "complete", "cancel"]
    list_display = ["maintenance", "shown_state", "begins", "ends"]
    list_filter = ["state"]
    list_select_related = ["maintenance"]
    search_fields = ["maintenance__title"]
    fields = ["parent", "shown_state", "begins", "ends", "began", "ended", "reason"]
    lede = "Each date of a maintenance, which can be moved by itself."

    def heading(self, shown: Occurrence) -> str:
        return shown.maintenance.title

    def object_actions(self, shown: Occurrence) -> list[desk.ObjectAction]:
        wanted = {
            "SCHEDULED": ["start", "move", "extend", "cancel"],
            "IN_PROGRESS": ["extend", "verify", "complete", "cancel"],
            "VERIFYING": ["extend", "complete", "cancel"],
        }
        labels = {"start": "Start now", "move": "Move…", "extend": "Extend…"}
        return [
            desk.ObjectAction(name, labels.get(name, name.capitalize()))
            for name in wanted.get(shown.state, [])
        ]

    @admin.action(description="Start now", permissions=["operate"])
    def start(self, request: HttpRequest, queryset: QuerySet[Occurrence]) -> None:
        self._turn(request, queryset, "start", "begun.")

    @admin.action(description="Verify", permissions=["operate"])
    def verify(self, request: HttpRequest, queryset: QuerySet[Occurrence]) -> None:
        self._turn(request, queryset, "verify", "being verified.")

    @admin.action(description="Complete", permissions=["operate"])
    def complete(self, request: HttpRequest, queryset: QuerySet[Occurrence]) -> None:
        self._turn(request, queryset, "complete", "completed.")

    @admin.action(description="Move…", permissions=["operate"])
    def move(
        self, request: HttpRequest, queryset: QuerySet[Occurrence]
    ) -> HttpResponse | None:
        """Plan one for another time, once it is said which."""
        ahead = [one for one in queryset if one.state == States.SCHEDULED]
        if len(ahead) != 1:
            self.message_user(request, "Choose one that is still to come.", "warning")
            return None
        planned = {name: getattr(ahead[0], name) for name in MoveForm.base_fields}
        said = request.POST if asking.is_confirmed(request) else None
        form = MoveForm(said, initial=planned)
        if not form.is_valid():
            return self._ask(request, ahead, "move", "Move", form)
        try:
            self._turn(request, ahead, "move", "moved.", **form.cleaned_data)
        except ValidationError as error:
            form.add_error(None, error)
            return self._ask(request, ahead, "move", "Move", form)
        return None

    @admin.action(description="Extend…", permissions=["operate"])
    def extend(
        self, request: HttpRequest, queryset: QuerySet[Occurrence]
    ) -> HttpResponse | None:
        """Let them end later, once it is said when."""
        form = ExtendForm(request.POST if asking.is_confirmed(request) else None)
        if not form.is_valid():
            return self._ask(request, queryset, "extend", "Extend", form)
        try:
            self._turn(request, queryset, "extend", "extended.", **form.cleaned_data)
        except ValidationError as error:
            form.add_error("ends_at", error.messages)
            return self._ask(request, queryset, "extend", "Extend", form)
        return None

    @admin.action(description="Cancel", permissions=["operate"])
    def cancel(
        self, request: HttpRequest, queryset: QuerySet[Occurrence]
    ) -> HttpResponse | None:
        """Call them off, once that is confirmed."""
        form = CancelForm(request.POST if asking.is_confirmed(request) else None)
        if not form.is_valid():
            return self._ask(request, queryset, "cancel", "Cancel it", form)
        self._turn(request, queryset, "cancel", "cancelled.", **form.cleaned_data)
        return None

    def _turn(
        self,
        request: HttpRequest,
        queryset: Iterable[Occurrence],
        name: str,
        outcome: str,
        **facts: Any,
    ) -> None:
        facts |= {"at": timezone.now(), "author": desk.operator(request)}
        turned = [one for one in queryset if getattr(one, name)(**facts)]
        self.note_changes(request, turned, outcome.capitalize(), outcome)

    def _ask(
        self,
        request: HttpRequest,
        queryset: Iterable[Occurrence],
        action: str,
        submit: str,
        form: forms.Form,
    ) -> HttpResponse | None:
        found = [one for one in queryset if one.is_open]
        if not found:
            self.message_user(request, "None of these is still to come or under way.")
            return None
        rows = [
            [desk.link(one), self.shown_state(one), self.begins(one), self.ends(one)]
            for one in found
        ]
        words = desk.count(len(found), "occurrence")
        return asking.ask(
            self,
            request,
            found,
            action=action,
            title=f"{action.capitalize()} {words}?",
            lede="Readers are told.",
            panel=desk.table(words.capitalize(), ["What", "State", "From", "To"], rows),
            form=form,
            submit=submit,
        )

    @admin.display(description="State", ordering="state")
    def shown_state(self, occurrence: Occurrence) -> SafeString:
        look = _LOOKS[occurrence.state]
        return desk.state(look, occurrence.get_state_display())

    @admin.display(description="Maintenance")
    def parent(self, occurrence: Occurrence) -> SafeString:
        return desk.link(occurrence.maintenance)

    @admin.display(description="From", ordering="starts_at")
    def begins(self, occurrence: Occurrence) -> SafeString:
        return desk.moment(occurrence.starts_at)

    @admin.display(description="Until", ordering="ends_at")
    def ends(self, occurrence: Occurrence) -> SafeString:
        return desk.moment(occurrence.ends_at)

    @admin.display(description="Began")
    def began(self, occurrence: Occurrence) -> SafeString:
        return desk.moment(occurrence.started_at)

    @admin.display(description="Ended")
    def ended(self, occurrence: Occurrence) -> SafeString:
        return desk.moment(occurrence.ended_at)


@admin.register(MaintenanceSettings)
class MaintenanceSettingsAdmin(desk.OneRowDesk):
    fields = ["sends_reminders"]


desk.name_topic("maintenance-occurrence", Occurrence)
