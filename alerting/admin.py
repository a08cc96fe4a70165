from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import AdminErrorList, AdminForm
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk
from monitors.admin import shown_status
from monitors.models import Monitor
from outbox.models import Trigger

from . import trying
from .alerts_admin import alerts_of_monitor, alerts_of_rule, failure_of_monitor
from .forms import VALUES, AlertRuleForm
from .models import Alert, AlertRule
from .simulation import TooMuch, simulate

SHOWN = 20


@admin.register(AlertRule)
class AlertRuleAdmin(desk.Retiring):
    form = AlertRuleForm
    actions = ["switch_off", "switch_on"]
    filter_horizontal = ["monitors"]
    fieldsets = [
        (None, {"fields": ["name"]}),
        ("What it watches", {"fields": list(AlertRuleForm.WATCHING)}),
        (
            "When it matters",
            {
                "fields": [
                    *("alert_for", *VALUES, "includes_worse"),
                    *("failure_threshold", "unit", "success_threshold"),
                ],
                "classes": ["sentences"],
            },
        ),
        (
            "Incident",
            {
                "fields": [
                    *("create_incident", "incident_severity"),
                    *("cooldown_seconds", "reopen_seconds"),
                ]
            },
        ),
        (
            "What follows",
            {
                "fields": [
                    *("severity", "triggers", "repeat_minutes"),
                    *("description", "is_active"),
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

    class Media:
        js = ["config/rules.js"]
        css = {"all": ["config/rules.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertRule]:
        open_alerts = Prefetch("alerts", Alert.objects.triggered(), to_attr="open")
        rules = super().get_queryset(request).prefetch_related(open_alerts, "labels")
        named = Count("monitors", Q(monitors__retired_at__isnull=True), distinct=True)
        return rules.annotate(named=named)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Who may not edit reads the sentence."""
        may_edit = (
            self.has_change_permission(request, obj)
            if obj
            else self.has_add_permission(request)
        )
        if may_edit:
            return super().get_fieldsets(request, obj)
        said = {"fields": ["when", "watches", "shown_severity", "follows", "on"]}
        return [(None, {"fields": ["name"]}), ("When it matters", said)]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["when", "watches", "shown_severity", "follows", "on"]

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
        given = form.cleaned_data
        form.instance.watch(
            list(given["monitors"]), list(given["labels"]), given["watches_all"]
        )
        form.instance.triggers.set(form.cleaned_data["triggers"])

    # What a rule would have done

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.try_view)
        return [
            path("try/", view, name="alerting_alertrule_try_new"),
            path("<int:pk>/try/", view, name="alerting_alertrule_try"),
            *super().get_urls(),
        ]

    def try_view(self, request: HttpRequest, pk: int = 0) -> HttpResponse:
        """The form as it was filled in, and above it what the rule would have done."""
        stored = get_object_or_404(AlertRule, pk=pk) if pk else None
        page = desk.address(stored) if stored else reverse(_ADD)
        may = (
            self.has_change_permission(request, stored)
            if stored
            else self.has_add_permission(request)
        )
        if not may:
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseRedirect(page)
        rule = AlertRule.objects.get(pk=pk) if pk else None
        form = self.get_form(request, rule, change=bool(pk))(
            request.POST, instance=rule
        )
        form.fields["name"].required = False  # it need not have one yet
        tried = self._tried(request, form) if form.is_valid() else None
        return self._form_again(request, form, stored, page, tried)

    def _tried(self, request: HttpRequest, form: Any) -> trying.Tried | None:
        asked = request.POST.get("_days", "")
        days = int(asked) if asked.isdecimal() and len(asked) < 4 else 7
        days = days if days in trying.RANGES else 7
        end = timezone.now()
        begin = end - timedelta(days=days)
        monitors = list(chosen(form.cleaned_data).defer("config"))
        try:
            found = simulate(form.instance, monitors, begin, end, sketched=True)
        except TooMuch as much:
            messages.error(request, str(much))
            return None
        return trying.shown(form.instance, found, days)

    def _form_again(
        self,
        request: HttpRequest,
        form: Any,
        stored: AlertRule | None,
        page: str,
        tried: trying.Tried | None,
    ) -> HttpResponse:
        """The page of the form, which saves to where it always does."""
        fieldsets = self.get_fieldsets(request, stored)
        readonly = self.get_readonly_fields(request, stored)
        adminform = AdminForm(form, fieldsets, {}, readonly, model_admin=self)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{'Change' if stored else 'Add'} {self.opts.verbose_name}",
            "adminform": adminform,
            "object_id": stored and str(stored.pk),
            "original": stored,
            "is_popup": False,
            "to_field": None,
            "media": self.media + adminform.media,
            "inline_admin_formsets": [],
            "errors": AdminErrorList(form, []),
            "preserved_filters": self.get_preserved_filters(request),
            "tried": tried,
        }
        add = stored is None
        return self.render_change_form(
            request, context, add=add, change=not add, form_url=page, obj=stored
        )

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        route = reverse(_TRY, args=[obj.pk]) if obj else reverse(_TRY_NEW)
        context |= {"try_address": route, "ranges": trying.RANGES.items()}
        return super().render_change_form(request, context, add, change, form_url, obj)

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
        return rule.when

    @admin.display(description="Watches", ordering="named")
    def watches(self, rule: Any) -> str:
        if rule.watches_all:
            return "every monitor"
        named = [desk.count(rule.named, "monitor")] if rule.named else []
        return ", ".join([*named, *map(str, rule.labels.all())]) or "nothing"

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


_ADD = "admin:alerting_alertrule_add"
_TRY, _TRY_NEW = "admin:alerting_alertrule_try", "admin:alerting_alertrule_try_new"


def chosen(given: dict[str, Any]) -> QuerySet[Monitor]:
    """The monitors that a rule would watch, as its form was filled in."""
    current = Monitor.objects.current()
    if given["watches_all"]:
        return current
    asked = Q(pk__in=given["monitors"]) | Q(labels__in=given["labels"])
    return current.filter(asked).distinct()


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
            for rule in AlertRule.objects.current().watching(monitor)
        ),
        empty="None: when it fails, nobody is told.",
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


desk.add_panel(AlertRule, watched)
desk.add_panel(AlertRule, alerts_of_rule)
desk.add_panel(Monitor, failure_of_monitor)
desk.add_panel(Monitor, rules_of_monitor)
desk.add_panel(Monitor, alerts_of_monitor)
desk.add_panel(Trigger, rules_of_trigger)
