"""The admin as an operator meets it: what is wrong, and the way to everything."""

from functools import partial
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.contrib.admin import AdminSite, ModelAdmin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.text import capfirst

from . import engine_page, frame, front_page

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
            said = frame.look(timezone.now(), request.user)
            context["sections"] = self.sections(request, said.numbers)
            context["public"] = said.public
            context["public_address"] = f"{settings.TOCSIN_URL}/"
        return context

    def get_app_list(self, request: HttpRequest, app_label: Any = None) -> Any:
        """What Django's own pages list; worked out for those that look at it."""
        if app_label:
            return super().get_app_list(request, app_label)
        return SimpleLazyObject(partial(super().get_app_list, request))

    def sections(
        self, request: HttpRequest, numbers: dict[str, str]
    ) -> list[tuple[str, list[dict[str, str]]]]:
        """The sidebar: the models the user may see, with what is worth counting."""
        found = []
        for section, labels in SECTIONS.items():
            pages = [
                {"name": name, "admin_url": reverse(view), "number": ""}
                for name, view in PAGES.get(section, [])
            ]
            models = [
                {**_link(self._registry[model]), "number": numbers.get(label, "")}
                for label in labels
                if (model := apps.get_model(label)) in self._registry
                and self._registry[model].has_view_or_change_permission(request)
            ]
            if pages or models:
                found.append((section, [*pages, *models]))
        return found


def _link(listed: "ModelAdmin[Any]") -> dict[str, str]:
    meta = listed.opts
    view = f"admin:{meta.app_label}_{meta.model_name}_changelist"
    name = capfirst(str(meta.verbose_name_plural))
    return {"name": name, "admin_url": reverse(view)}
