"""Where people say what a monitor's history really was."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk

from . import panels
from .forms import CorrectionForm
from .models import Correction


class InForceFilter(admin.SimpleListFilter):
    title = "in force"
    parameter_name = "in_force"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "In force"), ("no", "Undone")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Correction]
    ) -> QuerySet[Correction]:
        if self.value() not in ("yes", "no"):
            return queryset
        return queryset.filter(undone_at__isnull=self.value() == "yes")


@admin.register(Correction)
class CorrectionAdmin(desk.Desk):
    """Added and undone; never edited, never deleted."""

    form = CorrectionForm
    actions = ["undo"]
    radio_fields = {"status": admin.VERTICAL}
    list_display = [
        "verdict",
        "monitor_link",
        "when",
        "reason",
        "author",
        "standing",
    ]
    list_filter = [InForceFilter, "status"]
    list_select_related = ["monitor"]
    search_fields = ["monitor__name", "monitor__tag", "reason", "author"]
    search_help_text = "A monitor, a reason or who said it"
    lede = "What people have said that a monitor's history really was."
    told = [
        "monitor_link",
        "verdict",
        "began",
        "until",
        "why",
        "author",
        "said",
        "standing",
    ]

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        known = lookup == "monitor__id__exact"
        return known or super().lookup_allowed(lookup, value, request)

    def heading(self, shown: Correction) -> str:
        return f"{shown.monitor}: {shown.get_status_display()}"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.told if obj else CorrectionForm.Meta.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.told if obj else []

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # Adding

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        # There is nothing to continue with in what is never edited.
        context = {
            "title": "Correct a monitor's history",
            "show_save_and_continue": False,
            "show_save_and_add_another": False,
            **(extra_context or {}),
        }
        return super().add_view(request, form_url, context)

    def save_model(
        self, request: HttpRequest, obj: Correction, form: Any, change: bool
    ) -> None:
        obj.author = str(request.user)
        obj.save()

    def response_add(
        self,
        request: HttpRequest,
        obj: Correction,
        post_url_continue: str | None = None,
    ) -> HttpResponse:
        """Show what has become of the time, with as much again on both sides."""
        self.message_user(request, "The correction is in force. It can be undone.")
        beside = max(obj.ended_at - obj.started_at, timedelta(hours=1))
        begin, end = obj.started_at - beside, obj.ended_at + beside
        end = min(end, timezone.now())
        return HttpResponseRedirect(panels.explained_address(obj.monitor, begin, end))

    # Undoing

    def object_actions(self, shown: Correction) -> list[desk.ObjectAction]:
        return [] if shown.undone_at else [desk.ObjectAction("undo", "Undo")]

    @admin.action(description="Undo", permissions=["operate"])
    def undo(
        self, request: HttpRequest, queryset: QuerySet[Correction]
    ) -> HttpResponse | None:
        """Take corrections back, once that is confirmed."""
        if "confirmed" not in request.POST:
            return self.ask(request, queryset)
        by, now = str(request.user), timezone.now()
        undone = [c for c in queryset if c.undo(by=by, at=now)]
        outcome = "undone: what lies below counts again."
        self.note_changes(request, undone, "Undone.", outcome)
        return None

    def ask(
        self, request: HttpRequest, queryset: QuerySet[Correction]
    ) -> HttpResponse | None:
        found = list(queryset.filter(undone_at=None).select_related("monitor"))
        if not found:
            self.message_user(request, "None of these is in force any more.")
            return None
        rows = [[self.monitor_link(c), *panels.correction_row(c)[:-1]] for c in found]
        heads = ["Monitor", "From", "Until", "What it was", "Why", "By"]
        context = {
            **self.admin_site.each_context(request),
            "title": f"Undo {desk.count(len(found), 'correction')}?",
            "lede": "What lies below counts again: incidents, and what the checks "
            "found. The list goes on showing it as undone.",
            "opts": self.opts,
            "found": found,
            "panel": desk.table("To be undone", heads, rows),
            "back": desk.came_from(request) or desk.list_address(Correction),
        }
        template = "admin/monitors/correction/undo.html"
        return TemplateResponse(request, template, context)

    # In columns and lines

    @admin.display(description="What it was", ordering="status")
    def verdict(self, correction: Correction) -> SafeString:
        return panels.verdict(correction)

    @admin.display(description="Monitor", ordering="monitor__name")
    def monitor_link(self, correction: Correction) -> SafeString:
        return desk.link(correction.monitor)

    @admin.display(description="From", ordering="started_at")
    def when(self, correction: Correction) -> SafeString:
        lasted = correction.ended_at - correction.started_at
        return format_html(
            "{}<small>for {}</small>",
            desk.moment(correction.started_at),
            desk.length(lasted.total_seconds()),
        )

    @admin.display(description="From")
    def began(self, correction: Correction) -> SafeString:
        return desk.moment(correction.started_at)

    @admin.display(description="Until")
    def until(self, correction: Correction) -> SafeString:
        return desk.ended(correction.ended_at, correction.started_at)

    @admin.display(description="Why")
    def why(self, correction: Correction) -> str:
        return correction.reason

    @admin.display(description="Said")
    def said(self, correction: Correction) -> SafeString:
        return desk.moment(correction.created_at)

    @admin.display(description="Now", ordering="undone_at")
    def standing(self, correction: Correction) -> str | SafeString:
        return panels.standing(correction)
