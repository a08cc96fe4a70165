"""The admin as an operator meets it: what is wrong, and the way to everything."""

from typing import Any, Final

from django.contrib.admin import AdminSite
from django.contrib.auth import get_user_model
from django.db.models import F, Func, IntegerField, QuerySet, Subquery
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils import timezone

from alerting.models import Alert, AlertRule
from incidents.models import Incident
from monitors.models import Monitor
from outbox.models import Message
from subscriptions.models import Subscriber

from . import engine_page, front_page

# The sections of the sidebar. What is not named here is reached by its address
# alone: groups, and the schedules that Celery's beat keeps for itself.
SECTIONS: Final = {
    "Incidents": ["incidents.Incident", "incidents.Automation"],
    "Maintenance": [
        "incidents.Maintenance",
        "incidents.Occurrence",
        "incidents.MaintenanceSettings",
    ],
    "Monitors": ["monitors.Monitor", "monitors.Label", "monitors.Correction"],
    "Alerting": [
        "alerting.Alert",
        "alerting.AlertRule",
        "alerting.Decision",
        "alerting.Silence",
        "alerting.FlapDetection",
        "outbox.Trigger",
    ],
    "Public": ["statuspages.StatusPage", "subscriptions.Subscriber"],
    "Outbox": ["outbox.Message"],
    "Access": ["access.ApiKey", "auth.User"],
    "Clockwork": ["django_celery_beat.PeriodicTask"],
}
# Pages that are no model's, before those of their section.
PAGES: Final = {"Clockwork": [("Engine", "admin:engine")]}


def _number(found: QuerySet[Any]) -> Subquery:
    """A count as a column of another statement."""
    counted = Func(F("pk"), function="COUNT", output_field=IntegerField())
    return Subquery(found.order_by().annotate(n=counted).values("n"))


class TocsinAdminSite(AdminSite):
    site_header = "Tocsin"
    site_title = "Tocsin"
    index_title = "Now"
    enable_nav_sidebar = True

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        now = timezone.now()
        context = {
            **self.each_context(request),
            "title": "Now",
            "now": now,
            "page": front_page.look(now, request.user),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/index.html", context)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        own = path("engine/", self.admin_view(self.engine), name="engine")
        return [own, *super().get_urls()]

    def engine(self, request: HttpRequest) -> TemplateResponse:
        now = timezone.now()
        context = {
            **self.each_context(request),
            "title": "Engine",
            "now": now,
            "page": engine_page.look(now),
        }
        return TemplateResponse(request, "admin/engine.html", context)

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        if context["has_permission"] and not context["is_popup"]:
            context["sections"] = self.sections(request)
            context["public"] = front_page.public_state(timezone.now())
            context["public_address"] = front_page.public_address()
        return context

    def get_app_list(self, request: HttpRequest, app_label: Any = None) -> Any:
        """Ask for every permission once in a request; Django's own pages ask, too."""
        if app_label:
            return super().get_app_list(request, app_label)
        kept: Any = request
        if not hasattr(kept, "app_list"):
            kept.app_list = super().get_app_list(request)
        return kept.app_list

    def sections(self, request: HttpRequest) -> list[tuple[str, list[dict[str, Any]]]]:
        """The sidebar: the models the user may see, with what is worth counting."""
        numbers = self.numbers(request)
        seen = {
            f"{app['app_label']}.{model['object_name']}": model
            for app in self.get_app_list(request)
            for model in app["models"]
        }
        found = []
        for section, labels in SECTIONS.items():
            pages = [
                {"name": name, "admin_url": reverse(view), "number": ""}
                for name, view in PAGES.get(section, [])
            ]
            models = [
                {**seen[label], "number": numbers.get(label, "")}
                for label in labels
                if label in seen
            ]
            if pages or models:
                found.append((section, [*pages, *models]))
        return found

    def numbers(self, request: HttpRequest) -> dict[str, str]:
        """What the sidebar counts, in one statement."""
        wanted = {
            "monitors": Monitor.objects.current(),
            "alerts": Alert.objects.triggered(),
            "rules": AlertRule.objects.current(),
            "incidents": Incident.objects.open().visible_to(request.user),
            "subscribers": Subscriber.objects.confirmed(),
            "failed": Message.objects.given_up(),
        }
        me = get_user_model().objects.filter(username=request.user.get_username())
        columns = {f"n_{name}": _number(found) for name, found in wanted.items()}
        row = me.values(**columns).first() or {}
        n = {name: row.get(f"n_{name}") or 0 for name in wanted}
        return {
            "monitors.Monitor": f"{n['monitors']:,}",
            "alerting.AlertRule": f"{n['rules']:,}",
            "subscriptions.Subscriber": f"{n['subscribers']:,}",
            "alerting.Alert": f"{n['alerts']:,} open" if n["alerts"] else "",
            "incidents.Incident": f"{n['incidents']:,} open" if n["incidents"] else "",
            "outbox.Message": f"{n['failed']:,} failed" if n["failed"] else "",
        }
