from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk
from incidents.models import Incident
from monitors.admin import MonitorInline
from monitors.models import Monitor

from . import incident_pages
from .models import PageIncident, ShownMonitor, StatusPage, zone_choices


class StatusPageForm(forms.ModelForm):
    timezone = forms.ChoiceField(
        choices=zone_choices,
        help_text="Times and days are shown in this zone.",
    )

    class Meta:
        model = StatusPage
        fields = [
            "title",
            "slug",
            "description",
            "timezone",
            "is_default",
            "shows_all",
        ]


class ShownMonitorInline(MonitorInline):
    model = ShownMonitor
    fields = ["monitor", "section", "label", "position"]
    extra = 1
    verbose_name = "monitor on this page"
    verbose_name_plural = "monitors on this page"


@admin.register(StatusPage)
class StatusPageAdmin(desk.Desk):
    form = StatusPageForm
    inlines = [ShownMonitorInline]
    list_display = ["title", "slug", "shows", "timezone", "is_default", "public"]
    search_fields = ["title", "slug"]
    prepopulated_fields = {"slug": ["title"]}
    lede = "What the public sees."
    consequence = (
        "Its address answers no more. Monitors and incidents stay; an incident that "
        "shows only here shows nowhere then."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[StatusPage]:
        pages = super().get_queryset(request).select_related("snapshot")
        return pages.defer("snapshot__body").annotate(listed=Count("shown"))

    def get_prepopulated_fields(
        self, request: HttpRequest, obj: Any = None
    ) -> dict[str, Any]:
        return {} if obj else dict(self.prepopulated_fields)

    @admin.display(description="Shows")
    def shows(self, page: Any) -> str:
        listed = desk.count(page.listed, "monitor")
        return "every monitor" if page.shows_all else listed

    @admin.display(description="Public")
    def public(self, page: StatusPage) -> SafeString:
        if not page.is_default:
            return desk.NOTHING
        return format_html('<a href="{}/">Look at it</a>', settings.TOCSIN_URL)


def pages_of_monitor(request: HttpRequest, monitor: Monitor) -> str:
    return desk.table(
        "Where it is shown",
        ["Page", "Section", "As"],
        (
            [
                desk.link(shown.page),
                shown.section or desk.NOTHING,
                shown.label or monitor.name,
            ]
            for shown in monitor.shown_on.select_related("page")
        ),
        note="Besides the pages that show every monitor",
    )


def audience(request: HttpRequest, incident: Incident) -> str:
    if not incident.published_at:
        return ""
    chosen = [row.page for row in PageIncident.of(incident)]
    pages = [str(page) for page in chosen or StatusPage.objects.all() if page]
    return format_html(
        "<div><dt>Status pages</dt><dd>{}<small>{}</small></dd></div>",
        len(pages),
        ", ".join(pages),
    )


desk.add_panel(Monitor, pages_of_monitor)
desk.add_panel(Incident, audience, "audience")
desk.add_panel(Incident, incident_pages.panel, "side")
desk.add_page(
    Incident, "<int:pk>/pages/", incident_pages.choose, "incidents_incident_pages"
)
