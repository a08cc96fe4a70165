from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, Prefetch, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk
from monitors.admin import shown_status, status_of
from monitors.models import Monitor
from outbox.admin import messages_panel
from outbox.models import Message, Trigger

from . import evaluation
from .models import Alert, AlertRule, Decision, EvaluationFailure, Transition
from .rules import STATUS_VALUES

SHOWN = 20


class AlertRuleForm(forms.ModelForm):
    alert_value = forms.ChoiceField(
        label="is", choices=[(value, value) for value in STATUS_VALUES]
    )

    class Meta:
        model = AlertRule
        fields = [
            "name",
            "monitors",
            "alert_for",
            "alert_value",
            "failure_threshold",
            "success_threshold",
            "severity",
            "description",
            "create_incident",
            "triggers",
            "is_active",
        ]
        labels = {
            "monitors": "Watches",
            "alert_for": "Trigger when",
            "failure_threshold": "for",
            "success_threshold": "Resolve after",
            "create_incident": "Open an incident",
            "triggers": "Notify",
            "description": "In short",
            "is_active": "Active",
        }
        help_texts = {
            "failure_threshold": "checks in a row",
            "success_threshold": "good checks in a row",
            "create_incident": "A public one, which closes by itself.",
            "triggers": "Told when it triggers and when it resolves.",
            "is_active": "Off means that nothing triggers; what is open resolves.",
        }
        widgets = {"triggers": forms.CheckboxSelectMultiple}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "monitors" in self.fields:
            choice = self.fields["monitors"]
            choice.queryset = Monitor.objects.current()  # type: ignore[attr-defined]


@admin.register(AlertRule)
class AlertRuleAdmin(desk.Retiring):
    form = AlertRuleForm
    actions = ["switch_off", "switch_on"]
    filter_horizontal = ["monitors"]
    fieldsets = [
        (None, {"fields": ["name", "monitors"]}),
        (
            "When it matters",
            {
                "fields": [
                    ("alert_for", "alert_value", "failure_threshold"),
                    "success_threshold",
                ],
                "classes": ["sentences"],
                "description": "Missing data neither counts nor resets. Only STATUS "
                "can be watched so far.",
            },
        ),
        (
            "What follows",
            {
                "fields": [
                    "severity",
                    "create_incident",
                    "triggers",
                    "description",
                    "is_active",
                ]
            },
        ),
    ]
    list_display = [
        "name",
        "when",
        "watches",
        "shown_severity",
        "follows",
        "triggered",
        "on",
    ]
    list_filter = ["severity", "is_active", "create_incident", desk.RetiredFilter]
    search_fields = ["name", "monitors__name", "monitors__tag"]
    lede = "What has to be true, and for how long, before a failure matters."
    consequence = (
        "It decides no more; its open alerts resolve and their incidents close. "
        "The log keeps its alerts."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertRule]:
        open_alerts = Prefetch("alerts", Alert.objects.triggered(), to_attr="open")
        rules = super().get_queryset(request).prefetch_related(open_alerts)
        return rules.annotate(watched=Count("monitors", distinct=True))

    def save_model(
        self, request: HttpRequest, obj: AlertRule, form: Any, change: bool
    ) -> None:
        """Save; switching off and on are the model's own."""
        wanted = obj.is_active
        if change:
            obj.is_active = form.initial["is_active"]
        obj.save()
        if change and wanted != obj.is_active:
            turn = obj.switch_on if wanted else obj.switch_off
            turn(at=timezone.now())

    def save_related(
        self, request: HttpRequest, form: Any, formsets: Any, change: bool
    ) -> None:
        """Watch what was chosen: alerts of what is left out resolve."""
        form.instance.watch(list(form.cleaned_data["monitors"]))
        form.instance.triggers.set(form.cleaned_data["triggers"])

    def object_actions(self, shown: AlertRule) -> list[desk.ObjectAction]:
        if shown.retired_at:
            return []
        off = desk.ObjectAction("switch_off", "Switch off")
        on = desk.ObjectAction("switch_on", "Switch on")
        return [off if shown.is_active else on]

    @admin.action(description="Switch off", permissions=["operate"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[AlertRule]) -> None:
        changed = [rule for rule in queryset if rule.switch_off(at=timezone.now())]
        outcome = "switched off; open alerts are resolved."
        self.note_changes(request, changed, "Switched off.", outcome)

    @admin.action(description="Switch on", permissions=["operate"])
    def switch_on(self, request: HttpRequest, queryset: QuerySet[AlertRule]) -> None:
        changed = [rule for rule in queryset if rule.switch_on(at=timezone.now())]
        outcome = "switched on, counting from zero."
        self.note_changes(request, changed, "Switched on.", outcome)

    @admin.display(description="On", ordering="is_active")
    def on(self, rule: AlertRule) -> str | SafeString:
        return "on" if rule.is_active else desk.state("no_data", "Off")

    @admin.display(description="When")
    def when(self, rule: AlertRule) -> str:
        return (
            f"{rule.alert_for} is {rule.alert_value}, {rule.failure_threshold} in a "
            f"row; resolves after {rule.success_threshold}"
        )

    @admin.display(description="Monitors", ordering="watched")
    def watches(self, rule: Any) -> int:
        return rule.watched

    @admin.display(description="Severity", ordering="severity")
    def shown_severity(self, rule: AlertRule) -> str:
        return rule.get_severity_display()

    @admin.display(description="Then")
    def follows(self, rule: AlertRule) -> str:
        return "opens an incident" if rule.create_incident else "only notifies"

    @admin.display(description="Open alerts")
    def triggered(self, rule: Any) -> str | SafeString:
        if not rule.open:
            return desk.NOTHING
        query = f"rule__id__exact={rule.pk}&state__exact=TRIGGERED"
        words = desk.state("down", f"{len(rule.open)} triggered")
        address = desk.list_address(Alert, query)
        return format_html('<a href="{}">{}</a>', address, words)


@admin.register(Alert)
class AlertAdmin(desk.Log):
    actions = ["resolve"]
    list_display = [
        "__str__",
        "number",
        "shown_state",
        "rule_link",
        "shown_severity",
        "triggered",
        "resolved",
        "incident",
    ]
    list_filter = ["state", "severity", "triggered_at", "create_incident"]
    search_fields = ["=id", "monitor_name", "monitor_tag", "rule_name", "error"]
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
        "incident",
        "description",
    ]
    lede = "Every time a rule was met. What follows from each is on its page."

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        known = lookup in {"rule__id__exact", "monitor__id__exact"}
        return known or super().lookup_allowed(lookup, value, request)

    def object_actions(self, shown: Alert) -> list[desk.ObjectAction]:
        is_open = shown.state == Alert.State.TRIGGERED
        return [desk.ObjectAction("resolve", "Resolve by hand")] if is_open else []

    @admin.action(description="Resolve by hand", permissions=["operate"])
    def resolve(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        reason = f"Resolved by hand by {request.user.get_username()}."
        resolved = [a for a in queryset if a.resolve(reason=reason, at=timezone.now())]
        evaluation.announce_due()
        outcome = "resolved; counting starts from zero."
        self.note_changes(request, resolved, "Resolved by hand.", outcome)

    @admin.display(description="No.", ordering="pk")
    def number(self, alert: Alert) -> int:
        return alert.pk

    @admin.display(description="State", ordering="state")
    def shown_state(self, alert: Alert) -> SafeString:
        triggered = alert.state == Alert.State.TRIGGERED
        return desk.state("down" if triggered else "up", alert.get_state_display())

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
        )

    @admin.display(description="Severity", ordering="severity")
    def shown_severity(self, alert: Alert) -> str:
        return alert.get_severity_display()

    @admin.display(description="Observed")
    def observed_status(self, alert: Alert) -> SafeString:
        return status_of(alert.observed)

    @admin.display(description="First failure", ordering="began_at")
    def began(self, alert: Alert) -> SafeString:
        return desk.moment(alert.began_at)

    @admin.display(description="Triggered", ordering="triggered_at")
    def triggered(self, alert: Alert) -> SafeString:
        return desk.moment(alert.triggered_at, ago=True)

    @admin.display(description="Resolved", ordering="resolved_at")
    def resolved(self, alert: Alert) -> SafeString:
        return desk.ended(alert.resolved_at, alert.began_at)

    @admin.display(description="Incident", ordering="incident_number")
    def incident(self, alert: Alert) -> SafeString:
        if alert.incident_number:
            return desk.topic(f"incident:{alert.incident_number}")
        return desk.NOTHING


@admin.register(Decision)
class DecisionAdmin(desk.Log):
    list_display = ["reason", "gate", "alert_link", "first", "last", "count"]
    list_filter = ["gate", "last_at"]
    search_fields = ["reason", "alert__monitor_name", "alert__rule_name"]
    list_select_related = ["alert"]
    fields = ["reason", "gate", "alert_link", "first", "last", "count"]
    lede = "Why something that might have become an incident did not."

    @admin.display(description="Alert")
    def alert_link(self, decision: Decision) -> SafeString:
        return desk.link(decision.alert)

    @admin.display(description="First", ordering="first_at")
    def first(self, decision: Decision) -> SafeString:
        return desk.moment(decision.first_at)

    @admin.display(description="Last", ordering="last_at")
    def last(self, decision: Decision) -> SafeString:
        return desk.moment(decision.last_at, ago=True)


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


def decisions(request: HttpRequest, alert: Alert) -> str:
    return desk.table(
        "Decisions",
        ["Why not", "First", "Last", "Times"],
        (
            [d.reason, desk.moment(d.first_at), desk.moment(d.last_at), d.count]
            for d in alert.decisions.all()
        ),
        note="What kept it from becoming an incident",
    )


def notices(request: HttpRequest, alert: Alert) -> str:
    key = f"alert:{alert.pk}"
    found = Message.objects.filter(topic_key=key)
    return messages_panel("Notices", found, f"q={key}")


def watched(request: HttpRequest, rule: AlertRule) -> str:
    """The monitors of a rule as it sees them now."""
    rows = rule.states.select_related("monitor__state").order_by("monitor__name")
    return desk.table(
        "What it sees now",
        ["Monitor", "Status", "Failures in a row", "Successes in a row"],
        (
            [
                desk.link(row.monitor),
                shown_status(row.monitor),
                row.failures,
                row.successes,
            ]
            for row in rows[:SHOWN]
        ),
    )


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


def rules_of_monitor(request: HttpRequest, monitor: Monitor) -> str:
    shown = AlertRuleAdmin(AlertRule, admin.site)
    return desk.table(
        "Rules that watch it",
        ["Rule", "When", "Then", "On"],
        (
            [
                desk.link(rule),
                shown.when(rule),
                shown.follows(rule),
                "yes" if rule.is_active else "no",
            ]
            for rule in monitor.rules.filter(retired_at=None)
        ),
        empty="None: when it fails, nobody is told.",
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


def rules_of_trigger(request: HttpRequest, trigger: Trigger) -> str:
    return desk.table(
        "Rules that use it",
        ["Rule", "On"],
        (
            [desk.link(rule), "yes" if rule.is_active else "no"]
            for rule in trigger.rules.filter(retired_at=None)
        ),
        empty="None: it is sent nothing.",
    )


desk.name_topic("alert", Alert)
desk.add_panel(Alert, transitions)
desk.add_panel(Alert, decisions)
desk.add_panel(Alert, notices)
desk.add_panel(AlertRule, watched)
desk.add_panel(AlertRule, alerts_of_rule)
desk.add_panel(Monitor, failure_of_monitor)
desk.add_panel(Monitor, rules_of_monitor)
desk.add_panel(Monitor, alerts_of_monitor)
desk.add_panel(Trigger, rules_of_trigger)
