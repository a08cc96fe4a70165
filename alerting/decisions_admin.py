"""Why something that might have become an alert or an incident did not."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk
from monitors.models import Monitor

from .models import Alert, AlertRule, Decision
from .why import GATES, gate_in_words, why

SHOWN = 20
HEADS = ["Gate", "Verdict", "Why", "Alert", "First", "Last", "Times"]
TITLE = "Why was no incident opened?"


class GateFilter(admin.SimpleListFilter):
    title = "gate"
    parameter_name = "gate"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(GATES.items())

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Decision]
    ) -> QuerySet[Decision]:
        return queryset.filter(gate=self.value()) if self.value() else queryset


@admin.register(Decision)
class DecisionAdmin(desk.Log):
    list_display = [
        "reason",
        "shown_gate",
        "verdict",
        "monitor_link",
        "rule_link",
        "alert_link",
        "first",
        "last",
        "count",
    ]
    list_filter = [GateFilter, "verdict", "last_at"]
    search_fields = ["reason", "monitor__name", "monitor__tag", "rule__name"]
    search_help_text = "A reason, a monitor or a rule"
    list_select_related = ["alert", "monitor", "rule"]
    fields = [
        *("reason", "shown_gate", "verdict", "monitor_link", "rule_link"),
        *("alert_link", "first", "last", "count"),
    ]
    lede = "Why something that might have become an alert or an incident did not."

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        known = {"rule__id__exact", "monitor__id__exact", "alert__id__exact"}
        return lookup in known or super().lookup_allowed(lookup, value, request)

    @admin.display(description="Gate", ordering="gate")
    def shown_gate(self, decision: Decision) -> str:
        return gate_in_words(decision.gate)

    @admin.display(description="Monitor", ordering="monitor__name")
    def monitor_link(self, decision: Decision) -> SafeString:
        return desk.link(decision.monitor)

    @admin.display(description="Rule", ordering="rule__name")
    def rule_link(self, decision: Decision) -> SafeString:
        return desk.link(decision.rule)

    @admin.display(description="Alert")
    def alert_link(self, decision: Decision) -> SafeString:
        alert = decision.alert
        return desk.link(alert, alert.pk) if alert else desk.NOTHING

    @admin.display(description="First", ordering="first_at")
    def first(self, decision: Decision) -> SafeString:
        return desk.moment(decision.first_at)

    @admin.display(description="Last", ordering="last_at")
    def last(self, decision: Decision) -> SafeString:
        return desk.moment(decision.last_at, ago=True)


def decision_row(decision: Decision) -> Sequence[object]:
    shown = DecisionAdmin(Decision, admin.site)
    return [
        shown.shown_gate(decision),
        decision.get_verdict_display(),
        decision.reason,
        shown.alert_link(decision),
        shown.first(decision),
        shown.last(decision),
        decision.count,
    ]


def of_alert(request: HttpRequest, alert: Alert) -> str:
    found = alert.decisions.select_related("alert")
    return _panel(found, f"alert__id__exact={alert.pk}")


def of_rule(request: HttpRequest, rule: AlertRule) -> str:
    found = rule.decisions.select_related("alert")
    return _panel(found, f"rule__id__exact={rule.pk}")


def of_monitor(request: HttpRequest, monitor: Monitor) -> str:
    found = monitor.decisions.select_related("alert")
    reasons = why(monitor, timezone.now())
    return _panel(found, f"monitor__id__exact={monitor.pk}", reasons)


def _panel(found: QuerySet[Decision], query: str, reasons: Sequence[str] = ()) -> str:
    rows = [decision_row(decision) for decision in found[:SHOWN]]
    if not rows and not reasons:
        return ""
    address = desk.list_address(Decision, query)
    context = {
        "title": TITLE,
        "reasons": reasons,
        "heads": HEADS,
        "rows": rows,
        "note": format_html('<a href="{}">All of them</a>', address),
    }
    return render_to_string("admin/alerting/why.html", context)


desk.add_panel(Alert, of_alert)
desk.add_panel(AlertRule, of_rule)
desk.add_panel(Monitor, of_monitor)
