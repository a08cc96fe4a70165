"""The log of alerts, and what a person can do about one."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar, Final

from django import forms
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import asking, desk
from monitors.admin import status_of
from monitors.models import Label, Monitor, Status, kind_choices
from outbox.admin import messages_panel
from outbox.models import Message

from . import (
    announcing,
    decisions_admin,  # noqa: F401  registers its own pages
    silences_admin,  # noqa: F401  the same
)
from .exporting import FORMATS, MOST_ROWS
from .models import Alert, AlertRule, EvaluationFailure, Transition
from .why import gate_in_words

SHOWN = 20
UNTIL_RESOLVED: Final = "resolved"
STATUSES: Final = frozenset(Status.values)


class AcknowledgeForm(forms.Form):
    how_long = forms.ChoiceField(
        label="For",
        choices=[("60", "1 h"), ("240", "4 h"), (UNTIL_RESOLVED, "until it resolves")],
        initial="60",
        widget=forms.RadioSelect,
        help_text="Nobody is reminded meanwhile. When the time is over, everybody is.",
    )
    note = forms.CharField(
        label="Note",
        required=False,
        max_length=500,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text="Told to whom the rule tells.",
    )

    def until(self, at: datetime) -> datetime | None:
        minutes = self.cleaned_data["how_long"]
        if minutes == UNTIL_RESOLVED:
            return None
        return at + timedelta(minutes=int(minutes))


# Filters


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"
    chosen: ClassVar = {
        "triggered": Q(state=Alert.State.TRIGGERED),
        "unattended": Q(state=Alert.State.TRIGGERED, acknowledged_at=None, withheld=""),
        "acknowledged": Q(state=Alert.State.TRIGGERED, acknowledged_at__isnull=False),
        "withheld": Q(state=Alert.State.TRIGGERED) & ~Q(withheld=""),
        "resolved": Q(state=Alert.State.RESOLVED),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("triggered", "Triggered"),
            ("unattended", "Nobody has acknowledged it"),
            ("acknowledged", "Acknowledged"),
            ("withheld", "Held back"),
            ("resolved", "Resolved"),
        ]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Alert]
    ) -> QuerySet[Alert]:
        return queryset.filter(self.chosen.get(self.value() or "", Q()))


class ChoiceFilter(admin.SimpleListFilter):
    """Some rows to choose from, and always the one that is chosen."""

    MOST: ClassVar = 50
    lookup: ClassVar[str] = ""

    def rows(self) -> QuerySet[Any]:
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        found = {str(row.pk): str(row) for row in self.rows()[: self.MOST]}
        chosen = request.GET.get(str(self.parameter_name), "")
        if chosen and chosen not in found:
            found[chosen] = self._name(chosen)
        return list(found.items())

    def _name(self, chosen: str) -> str:
        if not _is_number(chosen):
            return chosen
        row = self.rows().model._default_manager.filter(pk=chosen).first()
        return str(row or chosen)

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Alert]
    ) -> QuerySet[Alert]:
        chosen = self.value()
        if not chosen:
            return queryset
        if not _is_number(chosen):
            return queryset.none()
        return queryset.filter(**{self.lookup: chosen})


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 19


class RuleFilter(ChoiceFilter):
    title = "rule"
    parameter_name = "rule__id__exact"
    lookup = "rule"

    def rows(self) -> QuerySet[AlertRule]:
        return AlertRule.objects.current()


class MonitorFilter(ChoiceFilter):
    """Those with an alert that goes on; others are found by the search."""

    title = "monitor"
    parameter_name = "monitor__id__exact"
    lookup = "monitor"

    def rows(self) -> QuerySet[Monitor]:
        failing = Alert.objects.triggered().values("monitor")
        return Monitor.objects.filter(pk__in=failing).only("pk", "name")


class LabelFilter(ChoiceFilter):
    title = "label"
    parameter_name = "label"
    lookup = "monitor__labels"

    def rows(self) -> QuerySet[Label]:
        return Label.objects.all()


class WordFilter(admin.SimpleListFilter):
    """One of the words that a column of the alert may have."""

    field: ClassVar[str] = ""

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Alert]
    ) -> QuerySet[Alert]:
        return queryset.filter(**{self.field: self.value()} if self.value() else {})


class KindFilter(WordFilter):
    title = "kind of rule"
    parameter_name = field = "alert_for"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return AlertRule.For.choices


class MonitorKindFilter(WordFilter):
    title = "kind of monitor"
    parameter_name = field = "monitor_kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return kind_choices()


class DaysFilter(admin.ListFilter):
    """From a day until another, both of them included, in UTC."""

    title = "days, UTC"
    template = "admin/alerting/alert/days_filter.html"
    NAMES: ClassVar = ("since", "until")

    def __init__(
        self, request: HttpRequest, params: Any, model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        given = {name: params.pop(name, [""])[-1] for name in self.NAMES}
        self.days = {name: _day(text) for name, text in given.items()}
        self.used_parameters |= {name: text for name, text in given.items() if text}
        # What else is asked for stays so when days are chosen.
        self.others = [
            (name, value)
            for name, values in request.GET.lists()
            if name not in {*self.NAMES, "p"}
            for value in values
        ]

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return list(self.NAMES)

    def choices(self, changelist: Any) -> Any:
        yield {"days": self.days, "others": self.others}

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Alert]
    ) -> QuerySet[Alert]:
        since, until = (self.days[name] for name in self.NAMES)
        if since:
            queryset = queryset.filter(triggered_at__gte=_midnight(since))
        if until and until < date.max:
            end = _midnight(until + timedelta(days=1))
            queryset = queryset.filter(triggered_at__lt=end)
        return queryset


def _day(text: str) -> date | None:
    try:
        return parse_date(text)
    except ValueError:
        return None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


@admin.register(Alert)
class AlertAdmin(desk.Log):
    actions = ["acknowledge", "unacknowledge", "resolve", "remove"]
    list_display = [
        "__str__",
        "number",
        "shown_state",
        "rule_link",
        "shown_severity",
        "observed_status",
        "triggered",
        "resolved",
        "incident",
    ]
    list_filter = [
        StateFilter,
        "severity",
        RuleFilter,
        MonitorFilter,
        LabelFilter,
        KindFilter,
        MonitorKindFilter,
        "triggered_at",
        DaysFilter,
    ]
    search_fields = ["=id", "monitor_name", "monitor_tag", "rule_name", "error", "note"]
    search_help_text = "A monitor, a rule, an error or the number of an alert"
    list_select_related = ["rule", "monitor"]
    fields = [
        "shown_state",
        "monitor_link",
        "rule_link",
        "condition",
        "shown_severity",
        "observed_status",
        "error",
        "began",
        "triggered",
        "resolved",
        "acknowledged",
        "note",
        "reminded",
        "incident",
        "description",
    ]
    lede = "Every time a rule was met. What follows from each is on its page."
    consequence = (
        "It leaves the log with its transitions, for good. Its incident stays, and "
        "so does what was sent."
    )

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        known = lookup in {"rule__id__exact", "monitor__id__exact"}
        return known or super().lookup_allowed(lookup, value, request)

    def object_actions(self, shown: Alert) -> list[desk.ObjectAction]:
        if shown.state != Alert.State.TRIGGERED:
            return []
        again = "Acknowledge again" if shown.is_acknowledged else "Acknowledge"
        back = desk.ObjectAction("unacknowledge", "Take the acknowledgement back")
        return [
            desk.ObjectAction("acknowledge", again),
            *([back] if shown.is_acknowledged else []),
            desk.ObjectAction("resolve", "Resolve by hand"),
        ]

    @admin.action(description="Acknowledge", permissions=["operate"])
    def acknowledge(
        self, request: HttpRequest, queryset: QuerySet[Alert]
    ) -> HttpResponse | None:
        """Take note of alerts, once it is said for how long."""
        form = AcknowledgeForm(request.POST if asking.is_confirmed(request) else None)
        if not form.is_valid():
            return self._ask_how_long(request, queryset, form)
        by, at = request.user.get_username(), timezone.now()
        note, until = form.cleaned_data["note"], form.until(at)
        taken = [
            alert
            for alert in queryset.select_related("rule")
            if alert.acknowledge(by=by, note=note, until=until, at=at)
        ]
        outcome = "acknowledged; nobody is reminded meanwhile."
        self.note_changes(request, taken, f"Acknowledged. {note}".strip(), outcome)
        return None

    def _ask_how_long(
        self, request: HttpRequest, queryset: QuerySet[Alert], form: AcknowledgeForm
    ) -> HttpResponse | None:
        found = list(queryset.triggered())  # type: ignore[attr-defined]
        if not found:
            self.message_user(request, "None of these goes on any more.")
            return None
        return asking.ask(
            self,
            request,
            found,
            action="acknowledge",
            title=f"Acknowledge {desk.count(len(found), 'alert')}",
            lede="Say that you are looking after it. Its incident is not touched.",
            panel=self._listed("To be acknowledged", found),
            form=form,
            submit="Acknowledge",
        )

    @admin.action(description="Take the acknowledgement back", permissions=["operate"])
    def unacknowledge(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        by, at = request.user.get_username(), timezone.now()
        changed = [alert for alert in queryset if alert.unacknowledge(by=by, at=at)]
        outcome = "acknowledged no more; people are reminded again."
        self.note_changes(request, changed, "Acknowledgement taken back.", outcome)

    @admin.action(description="Resolve by hand", permissions=["operate"])
    def resolve(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        reason = f"Resolved by hand by {request.user.get_username()}."
        resolved = [a for a in queryset if a.resolve(reason=reason, at=timezone.now())]
        announcing.announce_due()
        outcome = "resolved; counting starts from zero."
        self.note_changes(request, resolved, "Resolved by hand.", outcome)

    # Deleting

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Django's own would delete what still goes on; ours does not."""
        actions = super().get_actions(request)
        return {name: a for name, a in actions.items() if name != "delete_selected"}

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if not request.user.has_perm("alerting.delete_alert"):
            return False
        return obj is None or Alert.objects.removable().filter(pk=obj.pk).exists()

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """Only what was chosen is named; its transitions are a part of it."""
        listed: list[Any] = [str(shown) for shown in objs]
        return listed, {str(self.opts.verbose_name_plural): len(listed)}, set(), []

    def delete_model(self, request: HttpRequest, obj: Alert) -> None:
        obj.remove()

    @admin.action(description="Delete", permissions=["delete"])
    def remove(
        self, request: HttpRequest, queryset: QuerySet[Alert]
    ) -> HttpResponse | None:
        """Delete resolved alerts, once that is confirmed."""
        removable = queryset.filter(pk__in=Alert.objects.removable().values("pk"))
        found = list(removable)
        if not found:
            text = "Only alerts that have resolved can be deleted. Resolve them first."
            self.message_user(request, text, "warning")
            return None
        if not asking.is_confirmed(request):
            return self._ask_to_remove(request, found)
        self.log_deletions(request, removable)
        removed = sum(alert.remove() for alert in found)
        words = desk.count(removed, "alert").capitalize()
        self.message_user(request, f"{words} deleted; incidents stay.")
        return None

    def _ask_to_remove(
        self, request: HttpRequest, found: Sequence[Alert]
    ) -> HttpResponse:
        return asking.ask(
            self,
            request,
            found,
            action="remove",
            title=f"Delete {desk.count(len(found), 'alert')}?",
            lede=f"{self.consequence} What has not resolved is not among them.",
            panel=self._listed("To be deleted", found),
            submit="Delete",
        )

    def _listed(self, title: str, found: Sequence[Alert]) -> str:
        rows = [
            [desk.link(a), self.shown_state(a), self.triggered(a), self.incident(a)]
            for a in found
        ]
        return desk.table(title, ["Alert", "State", "Triggered", "Incident"], rows)

    # The log as a file

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.export)
        name = "alerting_alert_export"
        return [path("export/<str:kind>/", view, name=name), *super().get_urls()]

    def export(self, request: HttpRequest, kind: str) -> HttpResponse:
        """The list as it is filtered and searched, row by row."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        if kind not in FORMATS:
            return HttpResponseRedirect(desk.list_address(Alert))
        try:
            found = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(desk.list_address(Alert, "e=1"))
        content_type, written = FORMATS[kind]
        name = f"alerts-{timezone.now():%Y-%m-%d}.{kind}"
        disposition = f'attachment; filename="{name}"'
        return StreamingHttpResponse(
            written(found),
            content_type=content_type,
            headers={"Content-Disposition": disposition, "Cache-Control": "no-store"},
        )  # type: ignore[return-value]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        most = f"Exports hold {MOST_ROWS:,} alerts at the most."
        return super().changelist_view(request, {"most": most, **(extra_context or {})})

    # In columns and lines

    @admin.display(description="No.", ordering="pk")
    def number(self, alert: Alert) -> int:
        return alert.pk

    @admin.display(description="State", ordering="state")
    def shown_state(self, alert: Alert) -> SafeString:
        triggered = alert.state == Alert.State.TRIGGERED
        word = desk.state("down" if triggered else "up", alert.get_state_display())
        small = attention(alert) if triggered else ""
        return format_html("{}<small>{}</small>", word, small) if small else word

    @admin.display(description="Monitor", ordering="monitor_name")
    def monitor_link(self, alert: Alert) -> str | SafeString:
        return desk.link(alert.monitor, alert.monitor_name)

    @admin.display(description="Rule", ordering="rule_name")
    def rule_link(self, alert: Alert) -> str | SafeString:
        return desk.link(alert.rule, alert.rule_name)

    @admin.display(description="Condition")
    def condition(self, alert: Alert) -> str:
        return (
            f"{alert.alert_for} is {alert.alert_value} for {alert.failure_threshold} "
            f"in a row; resolves after {alert.success_threshold} good ones"
            if alert.unit == AlertRule.Unit.CHECKS
            else f"{alert.alert_for} is {alert.alert_value} for "
            f"{alert.failure_threshold:,} seconds; resolves after "
            f"{alert.success_threshold:,} good ones"
        )

    @admin.display(description="Severity", ordering="severity")
    def shown_severity(self, alert: Alert) -> str:
        return alert.get_severity_display()

    @admin.display(description="Observed")
    def observed_status(self, alert: Alert) -> str | SafeString:
        # A rule on something else than the status has seen a number.
        is_status = alert.observed in STATUSES
        return status_of(alert.observed) if is_status else alert.observed

    @admin.display(description="First failure", ordering="began_at")
    def began(self, alert: Alert) -> SafeString:
        return desk.moment(alert.began_at)

    @admin.display(description="Triggered", ordering="triggered_at")
    def triggered(self, alert: Alert) -> SafeString:
        return desk.moment(alert.triggered_at, ago=True)

    @admin.display(description="Resolved", ordering="resolved_at")
    def resolved(self, alert: Alert) -> SafeString:
        return desk.ended(alert.resolved_at, alert.began_at)

    @admin.display(description="Acknowledged")
    def acknowledged(self, alert: Alert) -> SafeString:
        if alert.acknowledged_at is None:
            return desk.NOTHING
        until = alert.acknowledged_until
        return format_html(
            "{} by {}<small>{}</small>",
            desk.moment(alert.acknowledged_at),
            alert.acknowledged_by,
            format_html("until {}", desk.moment(until)) if until else "to its end",
        )

    @admin.display(description="Reminders")
    def reminded(self, alert: Alert) -> SafeString:
        said = desk.count(alert.reminders, "reminder")
        is_due = alert.state == Alert.State.TRIGGERED and not alert.is_acknowledged
        if not (is_due and alert.remind_at):
            return format_html("{}", said)
        due = desk.moment(alert.remind_at, ago=True)
        return format_html("{}, the next {}", said, due)

    @admin.display(description="Incident", ordering="incident_number")
    def incident(self, alert: Alert) -> SafeString:
        if alert.incident_number:
            return desk.topic(f"incident:{alert.incident_number}")
        return desk.NOTHING


def attention(alert: Alert) -> str:
    """What keeps people from hearing of an alert that goes on, if anything does."""
    if alert.withheld:
        return f"held back: {gate_in_words(alert.withheld).lower()}"
    return f"acknowledged by {alert.acknowledged_by}" if alert.is_acknowledged else ""


# On its page


def transitions(request: HttpRequest, alert: Alert) -> str:
    return desk.table(
        "Transitions",
        ["At", "To", "Reason", "Announced"],
        (transition_row(transition) for transition in alert.transitions.all()),
        note="Incidents hear of each one when it is announced",
    )


def transition_row(transition: Transition) -> Sequence[object]:
    triggered = transition.to == Alert.State.TRIGGERED
    word = str(Alert.State(transition.to).label)
    return [
        desk.moment(transition.at),
        desk.state("down" if triggered else "up", word),
        transition.reason,
        announcement(transition),
    ]


def announcement(transition: Transition) -> SafeString:
    """When the transition was announced, or what keeps it from being so."""
    if transition.announced_at:
        return desk.moment(transition.announced_at)
    if not transition.error:
        return desk.state("maintenance", "Due")
    return format_html(
        "{}<small>{}</small><small>{}, again {}</small>",
        desk.state("down", "Failing"),
        transition.error,
        desk.count(transition.attempts, "attempt").capitalize(),
        desk.due(transition.due_at),
    )


def notices(request: HttpRequest, alert: Alert) -> str:
    key = f"alert:{alert.pk}"
    found = Message.objects.filter(topic_key=key)
    return messages_panel("Notices", found, f"q={key}")


# On the pages of rules and monitors


def alerts_of_rule(request: HttpRequest, rule: AlertRule) -> str:
    query = f"rule__id__exact={rule.pk}"
    return _alerts(rule.alerts.all(), query)


def alerts_of_monitor(request: HttpRequest, monitor: Monitor) -> str:
    query = f"monitor__id__exact={monitor.pk}"
    return _alerts(monitor.alerts.all(), query)


def _alerts(alerts: QuerySet[Alert], query: str) -> str:
    shown = AlertAdmin(Alert, admin.site)
    return desk.table(
        "Alerts",
        ["Alert", "State", "Triggered", "Resolved", "Incident"],
        (
            [
                desk.link(alert),
                shown.shown_state(alert),
                shown.triggered(alert),
                shown.resolved(alert),
                shown.incident(alert),
            ]
            for alert in alerts[:SHOWN]
        ),
        note=format_html(
            '<a href="{}">All of them</a>', desk.list_address(Alert, query)
        ),
    )


def failure_of_monitor(request: HttpRequest, monitor: Monitor) -> str:
    failure = EvaluationFailure.objects.filter(monitor=monitor).first()
    if failure is None:
        return ""
    return desk.table(
        "Its rules could not be evaluated",
        ["Error", "Attempts", "Failed", "Next attempt"],
        [
            [
                format_html('<code class="said">{}</code>', failure.error),
                failure.attempts,
                desk.moment(failure.failed_at),
                desk.moment(failure.due_at, ago=True),
            ]
        ],
        note=desk.state("down", "Nothing is decided until this is mended"),
    )


desk.name_topic("alert", Alert)
desk.add_panel(Alert, transitions)
desk.add_panel(Alert, notices)
