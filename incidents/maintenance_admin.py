"""Where operators plan maintenances, and move each of their dates by hand."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString

from access import asking, desk
from monitors.admin import MonitorInline
from monitors.models import Monitor

from .maintenance_forms import (
    CancelForm,
    ExtendForm,
    MaintenanceForm,
    MessageForm,
    MoveForm,
    NoteForm,
)
from .models import Maintenance, MaintenanceImpact, MaintenanceSettings, Occurrence
from .models.maintenance import TIMES
from .models.occurrence import States

_FACTS: Final = (
    *("title", "description", *TIMES, "reminders", "sends_reminders"),
    *("verify_before_completion", "verify_minutes"),
)
_LABELS: Final = {
    "note": "Write an update",
    "start": "Start now",
    "verify": "Verify",
    "complete": "Complete",
    "move": "Move…",
    "extend": "Extend…",
    "cancel": "Cancel…",
}
_LOOKS: Final = {
    "SCHEDULED": "no_data",
    "IN_PROGRESS": "maintenance",
    "VERIFYING": "maintenance",
    "COMPLETED": "up",
    "CANCELLED": "no_data",
}


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

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Who may not edit reads in words when it happens."""
        found = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return found
        said = {"When": ["when", "until"], "Reminders": ["sends_reminders", "ahead"]}
        return [
            (name, {"fields": said[name]} if name in said else more)
            for name, more in found
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["when", "until", "ahead"]

    def changeform_view(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Say in the form, too, what is refused only when it is saved."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except ValidationError as error:
            asked: Any = request
            asked.refused = error
            return super().changeform_view(request, *args, **kwargs)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        made: Any = super().get_form(request, obj, change, **kwargs)
        refused = {"refused": getattr(request, "refused", None)}
        return type(made)(made.__name__, (made,), refused)

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
        if change:
            facts = {name: getattr(planned, name) for name in _FACTS}
            author = desk.operator(request)
            planned.revise(at=at, impacts=impacts, author=author, **facts)
        else:
            planned.schedule(at=at, impacts=impacts)
        for warning in planned.warnings if form.is_retimed else []:
            self.message_user(request, warning, "warning")

    def retire(self, shown: Maintenance, at: datetime) -> None:
        shown.retire(at=at)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        form = context["adminform"].form
        # A form to read has none.
        if isinstance(form, MaintenanceForm):
            zone = form.instance.zone
            rows = [_row(begin, end, zone) for begin, end in form.dates()]
            context["dates"] = desk.table("The next dates", ["From", "Until"], rows)
            context["warnings"] = form.warnings()
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="When")
    def when(self, maintenance: Maintenance) -> str | SafeString:
        return maintenance.describe() or desk.moment(maintenance.starts_at)

    @admin.display(description="Until")
    def until(self, maintenance: Maintenance) -> SafeString:
        return desk.moment(maintenance.ends_at)

    @admin.display(description="Minutes before the start")
    def ahead(self, maintenance: Maintenance) -> str:
        return ", ".join(map(str, maintenance.reminders))

    @admin.display(description="Next")
    def next_date(self, maintenance: Maintenance) -> SafeString:
        ahead = [o for o in maintenance.occurrences.all() if o.is_open]
        first = min(ahead, key=lambda o: o.starts_at, default=None)
        words = f"{first.starts_at:%Y-%m-%d %H:%M} UTC" if first else ""
        return desk.link(first, words)


def _row(begin: datetime, end: datetime, zone: ZoneInfo) -> list[str]:
    return [f"{at.astimezone(zone):%a %d %b %Y, %H:%M %Z}" for at in (begin, end)]


def _impacts(formsets: Any) -> dict[Monitor, str]:
    """Return what each monitor is to suffer; the last word on it counts."""
    rows = [form.cleaned_data for formset in formsets for form in formset.forms]
    named = [row for row in rows if row.get("monitor") and not row.get("DELETE")]
    return {row["monitor"]: row["level"] for row in named}


@admin.register(Occurrence)
class OccurrenceAdmin(desk.Log):
    actions = ["note", "start", "move", "extend", "verify", "complete", "cancel"]
    change_form_template = "admin/incidents/occurrence/change_form.html"
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
            "IN_PROGRESS": ["verify", "complete", "extend", "cancel"],
            "VERIFYING": ["complete", "extend", "cancel"],
        }
        return [
            desk.ObjectAction(name, _LABELS[name])
            for name in ["note", *wanted.get(shown.state, [])]
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["said"] = MessageForm()
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.action(description="Write an update…", permissions=["operate"])
    def note(
        self, request: HttpRequest, queryset: QuerySet[Occurrence]
    ) -> HttpResponse | None:
        """Tell something new, asked for unless it is there already."""
        form = NoteForm(_said(request) or (request.POST if _body(request) else None))
        ask = _Asking("note", "Write an update on", "Write it", form)
        return self._take(request, queryset, ask, "told of.")

    @admin.action(description="Start now", permissions=["operate"])
    def start(
        self, request: HttpRequest, queryset: QuerySet[Occurrence]
    ) -> HttpResponse | None:
        ask = _Asking("start", "Start", "Start now", MessageForm(request.POST))
        return self._take(request, queryset, ask, "begun.")

    @admin.action(description="Verify", permissions=["operate"])
    def verify(
        self, request: HttpRequest, queryset: QuerySet[Occurrence]
    ) -> HttpResponse | None:
        ask = _Asking("verify", "Verify", "Verify", MessageForm(request.POST))
        return self._take(request, queryset, ask, "being verified.")

    @admin.action(description="Complete", permissions=["operate"])
    def complete(
        self, request: HttpRequest, queryset: QuerySet[Occurrence]
    ) -> HttpResponse | None:
        ask = _Asking("complete", "Complete", "Complete", MessageForm(request.POST))
        return self._take(request, queryset, ask, "completed.")

    @admin.action(description="Move…", permissions=["operate"])
    def move(
        self, request: HttpRequest, queryset: QuerySet[Occurrence]
    ) -> HttpResponse | None:
        """Plan one for another time, once it is said which."""
        ahead = [one for one in queryset if one.state == States.SCHEDULED]
        if len(ahead) != 1:
            self.message_user(request, "Choose one that is still to come.", "warning")
            return None
        planned = {name: getattr(ahead[0], name) for name in ("starts_at", "ends_at")}
        form = MoveForm(_said(request), initial={**planned, "body": _body(request)})
        ask = _Asking("move", "Move", "Move", form)
        return self._take(request, ahead, ask, "moved.")

    @admin.action(description="Extend…", permissions=["operate"])
    def extend(
        self, request: HttpRequest, queryset: QuerySet[Occurrence]
    ) -> HttpResponse | None:
        """Let them end later, once it is said when."""
        form = ExtendForm(_said(request), initial={"body": _body(request)})
        ask = _Asking("extend", "Extend", "Extend", form)
        return self._take(request, queryset, ask, "extended.")

    @admin.action(description="Cancel…", permissions=["operate"])
    def cancel(
        self, request: HttpRequest, queryset: QuerySet[Occurrence]
    ) -> HttpResponse | None:
        """Call them off, once that is confirmed."""
        form = CancelForm(_said(request), initial={"reason": _body(request)})
        ask = _Asking("cancel", "Cancel", "Cancel it", form)
        return self._take(request, queryset, ask, "cancelled.")

    def _take(
        self,
        request: HttpRequest,
        queryset: Iterable[Occurrence],
        ask: "_Asking",
        outcome: str,
    ) -> HttpResponse | None:
        """Do it with all of them, or ask for what is missing or wrong."""
        chosen, form = [*queryset], ask.form
        if not form.is_valid():
            return self._ask(request, chosen, ask)
        facts = {"at": timezone.now(), "author": desk.operator(request)}
        try:
            turned = _turn(chosen, ask.action, {**form.cleaned_data, **facts})
        except ValidationError as error:
            form.add_error(None, error)
            return self._ask(request, chosen, ask)
        self.note_changes(request, turned, outcome.capitalize(), outcome)
        return None

    def _ask(
        self, request: HttpRequest, chosen: Iterable[Occurrence], ask: "_Asking"
    ) -> HttpResponse | None:
        found = [one for one in chosen if one.is_open or ask.action == "note"]
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
            action=ask.action,
            title=f"{ask.title} {words}?",
            lede="Readers are told.",
            panel=desk.table(words.capitalize(), ["What", "State", "From", "To"], rows),
            form=ask.form,
            submit=ask.submit,
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


class _Asking(NamedTuple):
    """A step, and the page that asks for what it is to be given."""

    action: str
    title: str
    submit: str
    form: forms.Form


def _said(request: HttpRequest) -> Any:
    """Return what was filled in on the page that asks, if it comes from there."""
    return request.POST if asking.is_confirmed(request) else None


def _body(request: HttpRequest) -> str:
    """Return what was written beside the button."""
    return request.POST.get("body", "")


def _turn(
    chosen: Iterable[Occurrence], name: str, facts: Mapping[str, Any]
) -> list[Occurrence]:
    """Take the step with all, or with none; return those with which it was.

    Raises ValidationError, which says of each that refuses why.
    """
    refused: dict[str, list[Any]] = defaultdict(list)
    turned, chosen = [], [*chosen]
    with transaction.atomic():
        for one in chosen:
            try:
                turned += [one] if getattr(one, name)(**facts) else []
            except ValidationError as error:
                for field, why in error.update_error_dict({}).items():
                    refused[field] += _of(one, why) if len(chosen) > 1 else why
        if refused:
            raise ValidationError(refused)
    return turned


def _of(one: Occurrence, why: Iterable[ValidationError]) -> list[str]:
    return [f"{one}: {text}" for error in why for text in error.messages]


def story(request: HttpRequest, occurrence: Occurrence) -> str:
    """What people were told of it, newest first."""
    told = occurrence.updates.select_related("author").order_by("-at", "-pk")
    return render_to_string("admin/incidents/occurrence/story.html", {"told": told})


@admin.register(MaintenanceSettings)
class MaintenanceSettingsAdmin(desk.OneRowDesk):
    fields = ["sends_reminders"]


desk.name_topic("maintenance-occurrence", Occurrence)
desk.add_panel(Occurrence, story)
