"""The words by which monitors are found together."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk

from .labels import refusal
from .models import Label, Monitor
from .panels import shown_status

SHOWN = 20


@admin.register(Label)
class LabelAdmin(desk.Desk):
    fields = ["name"]
    list_display = ["name", "borne"]
    search_fields = ["name"]
    lede = "Words by which monitors are found together; rules and silences use them."
    consequence = "Nothing uses it."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Label]:
        current = Q(monitors__retired_at=None)
        counted = Count("monitors", filter=current, distinct=True)
        return super().get_queryset(request).annotate(bearers=counted)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """What is in use is protected, and it is said by what."""
        found = list(objs)
        protected = [said for said in map(refusal, found) if said]
        return [str(one) for one in found], {"labels": len(found)}, set(), protected

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        label = self.get_object(request, object_id)
        if label and (why_not := refusal(label)):
            self.message_user(request, why_not, "error")
            return HttpResponseRedirect(desk.address(label))
        return super().delete_view(request, object_id, extra_context)

    @admin.display(description="Monitors", ordering="bearers")
    def borne(self, label: Any) -> str | SafeString:
        if not label.bearers:
            return desk.NOTHING
        listed = desk.list_address(Monitor, f"labels__id__exact={label.pk}")
        return format_html('<a href="{}">{}</a>', listed, f"{label.bearers:,}")


def monitors(request: HttpRequest, label: Label) -> str:
    found = Monitor.objects.current().filter(labels=label).select_related("state")
    listed = desk.list_address(Monitor, f"labels__id__exact={label.pk}")
    return desk.table(
        "Monitors with it",
        ["Monitor", "Status"],
        ([desk.link(m), shown_status(m)] for m in found[:SHOWN]),
        note=format_html('<a href="{}">All of them</a>', listed),
        empty="None yet.",
    )


desk.add_panel(Label, monitors)
