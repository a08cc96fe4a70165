"""The operator's desk: what every page of the admin is made of.

An upper app adds a panel to a lower app's page by `add_panel`, a page of its
own beside it by `add_page`, and says where a thing that messages know as
`incident:7` is dealt with by `name_topic`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString, mark_safe

from .models import OneRow

Panel = Callable[[HttpRequest, Any], str]
# Given the model's own pages, the request, and what the route holds.
Page = Callable[..., HttpResponse]

NOTHING: Final = mark_safe('<span class="quiet">&ndash;</span>')

_panels: dict[tuple[str, str], list[Panel]] = defaultdict(list)
_pages: dict[str, list[tuple[str, str, Page]]] = defaultdict(list)
_topics: dict[str, str] = {}


# What upper apps add to the pages of lower ones


def add_panel(model: type[models.Model], panel: Panel, place: str = "below") -> None:
    """Show on the pages of a model what this returns for the object shown."""
    _panels[model._meta.label, place].append(panel)


def panels(request: HttpRequest, shown: models.Model, place: str) -> list[str]:
    found = (panel(request, shown) for panel in _panels[shown._meta.label, place])
    return [html for html in found if html]


def add_page(model: type[models.Model], route: str, page: Page, name: str) -> None:
    """Put a page of an upper app among those of a model; called in ready()."""
    _pages[model._meta.label].append((route, name, page))


def name_topic(name: str, model: type[models.Model]) -> None:
    """Say which model's page deals with what `name:7` stands for."""
    _topics[name] = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"


def topic(key: str) -> SafeString:
    """Return a link to where `incident:7` is dealt with, or its words alone."""
    name, _, number = key.partition(":")
    if not number:
        return NOTHING
    words = f"{name.capitalize()} {number}"
    if name not in _topics:
        return format_html("{}", words)
    return format_html(
        '<a href="{}">{}</a>', reverse(_topics[name], args=[number]), words
    )


# Words


def state(look: str, word: str) -> SafeString:
    """A state in its colour, shape and word; `look` is one of the statuses."""
    return format_html(
        '<span class="state" data-state="{0}"><svg class="g" aria-hidden="true">'
        '<use href="#g-{0}"></use></svg>{1}</span>',
        "degraded" if look == "partial" else look,
        word,
    )


def moment(at: datetime | None, *, ago: bool = False) -> SafeString:
    """An instant with its zone; with `ago`, how long it is past comes after it."""
    if at is None:
        return NOTHING
    at = at.astimezone(UTC)
    words = f"{at.day} {at:%b %Y %H:%M:%S} UTC"
    said = format_html('<time datetime="{}">{}</time>', at.isoformat(), words)
    return format_html("{}<small>{}</small>", said, since(at)) if ago else said


def ended(at: datetime | None, began: datetime) -> SafeString:
    """When something ended and after how long; nothing while it goes on."""
    if at is None:
        return NOTHING
    lasted = length((at - began).total_seconds())
    return format_html("{}<small>after {}</small>", moment(at), lasted)


def since(at: datetime) -> str:
    seconds = (timezone.now() - at).total_seconds()
    return f"in {length(-seconds)}" if seconds <= -1 else f"{length(seconds)} ago"


def due(at: datetime) -> str:
    return since(at) if at > timezone.now() else "now"


def length(seconds: float) -> str:
    """Return "40 s", "51 min", "1 h 5 min" or "2 d 3 h"; never negative."""
    seconds = max(0, int(seconds))
    for unit, size, smaller, part in (
        ("d", 86_400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if seconds >= size:
            rest = seconds % size // part
            # Seconds beside minutes only make a length harder to read.
            if not rest or (unit == "min" and seconds >= 120):
                return f"{seconds // size} {unit}"
            return f"{seconds // size} {unit} {rest} {smaller}"
    return f"{seconds} s"


_SMALL: Final = (
    *("no", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)


def number(n: int) -> str:
    """Numbers up to twelve as words."""
    return _SMALL[n] if n < len(_SMALL) else f"{n:,}"


def count(n: int, thing: str, things: str = "") -> str:
    return f"{number(n)} {thing if n == 1 else things or f'{thing}s'}"


def link(shown: models.Model | None, words: object = "") -> SafeString:
    """A link to the object's own page."""
    if shown is None:
        return NOTHING
    return format_html('<a href="{}">{}</a>', address(shown), words or shown)


def address(shown: models.Model) -> str:
    meta = shown._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[shown.pk])


def list_address(model: type[models.Model], query: str = "") -> str:
    meta = model._meta
    listed = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
    return f"{listed}?{query}" if query else listed


def table(
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    note: object = "",
    empty: str = "",
) -> str:
    """A panel that is one table; without rows it says `empty`, or is not there."""
    rows = list(rows)
    if not rows and not empty:
        return ""
    context = {
        "title": title,
        "heads": heads,
        "rows": rows,
        "note": note,
        "empty": empty,
    }
    return render_to_string("admin/panel_table.html", context)


class ObjectAction(NamedTuple):
    """A button on an object's page that does what the list's action does."""

    name: str
    label: str


def operator(request: HttpRequest) -> Any:
    """Who is logged in; nobody else comes to a page of the admin."""
    return request.user


def came_from(request: HttpRequest) -> str:
    """Where the button of an action was, if that is a page of ours."""
    page = request.POST.get("next", "")
    ours = url_has_allowed_host_and_scheme(page, {request.get_host()})
    return page if ours else ""


def unlinked(field: Any) -> Any:
    """Take the little links to other objects off a choice: pages have their own."""
    for link in ("add", "change", "delete", "view"):
        if hasattr(getattr(field, "widget", None), f"can_{link}_related"):
            setattr(field.widget, f"can_{link}_related", False)
    return field


class Desk(admin.ModelAdmin):
    """A model's pages: actions also as buttons on the object, panels below it."""

    list_per_page = 50
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    # What deleting means here, said before it is confirmed.
    consequence: ClassVar[str] = ""
    lede: ClassVar[str] = ""

    def heading(self, shown: Any) -> str:
        return str(shown)

    def formfield_for_dbfield(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> Any:
        return unlinked(super().formfield_for_dbfield(db_field, request, **kwargs))

    def get_urls(self) -> list[URLPattern]:
        added = [
            path(route, self.admin_site.admin_view(partial(page, self)), name=name)
            for route, name, page in _pages[self.opts.label]
        ]
        return [*added, *super().get_urls()]

    # Django's own makes a widget of each, a sixth of what a list costs.
    def action_checkbox(self, obj: Any) -> SafeString:
        return format_html(
            '<input type="checkbox" name="{}" value="{}" class="action-select" '
            'aria-label="Select this object for an action - {}">',
            ACTION_CHECKBOX_NAME,
            obj.pk,
            obj,
        )

    def object_actions(self, shown: Any) -> list[ObjectAction]:
        """Return the actions that make sense for this object as it is now."""
        return []

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whether the user may run actions, also where nothing can be edited."""
        meta = self.opts
        return request.user.has_perm(f"{meta.app_label}.change_{meta.model_name}")

    def to_change(self, request: HttpRequest, pk: int) -> Any:
        """Return what a page beside the form changes, for those who may change it."""
        found = self.get_object(request, str(pk))
        if found is None:
            raise Http404
        if not self.has_change_permission(request, found):
            raise PermissionDenied
        return found

    def note_changes(
        self, request: HttpRequest, changed: Sequence[Any], note: str, outcome: str
    ) -> None:
        """Write into the log of each what was done, and say it in one message."""
        for one in changed:
            self.log_change(request, one, note)
        words = count(len(changed), str(self.opts.verbose_name)).capitalize()
        self.message_user(request, f"{words} {outcome}")

    def response_action(
        self, request: HttpRequest, queryset: models.QuerySet[Any], *where: Any
    ) -> HttpResponse | None:
        """Run the action and go back to where its button was."""
        response = super().response_action(request, queryset, *where)
        back = came_from(request)
        if back and response is not None and response.status_code == 302:
            return HttpResponseRedirect(back)
        return response

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            response.context_data.setdefault("consequence", self.consequence)
            response.context_data.setdefault("lede", self.lede)
        return response

    def delete_view(
        self,
        request: HttpRequest,
        object_id: str,
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        extra_context = {"consequence": self.consequence, **(extra_context or {})}
        return super().delete_view(request, object_id, extra_context)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        # "Name", not "Name:"; the layout parts them.
        context["adminform"].form.label_suffix = ""
        if obj is not None:
            context["heading"] = self.heading(obj)
            context["panels"] = panels(request, obj, "below")
            if self.has_operate_permission(request):
                context["object_actions"] = self.object_actions(obj)
        return super().render_change_form(request, context, add, change, form_url, obj)


class Log(Desk):
    """Recorded facts: nobody adds, edits or deletes them by hand."""

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields or []

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class OneRowDesk(Desk):
    """The page of settings of which there is one row."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: Any = None
    ) -> Any:
        return self._one if object_id == str(OneRow.THE_ONE) else None

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """There is but one: this is its page."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        return HttpResponseRedirect(address(self._one))

    @property
    def _one(self) -> OneRow:
        found: OneRow = self.model.current()
        return found


class RetiredFilter(admin.SimpleListFilter):
    """Leaves out what is retired, unless it is asked for."""

    title = "in service"
    parameter_name = "retired"
    field: ClassVar[str] = "retired_at"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin
    ) -> list[tuple[str, str]]:
        return [("yes", "Deleted"), ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        choices = super().choices(changelist)
        yield {**next(choices), "display": "Current"}
        yield from choices

    def queryset(
        self, request: HttpRequest, queryset: models.QuerySet[Any]
    ) -> models.QuerySet[Any]:
        if self.value() == "all":
            return queryset
        return queryset.filter(**{f"{self.field}__isnull": self.value() != "yes"})


class Retiring(Desk):
    """Deleting takes out of service by the model's own method; history stays."""

    retired_field: ClassVar[str] = "retired_at"

    def retire(self, shown: Any, at: datetime) -> None:
        shown.retire(at=at)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.retire(obj, timezone.now())

    def delete_queryset(
        self, request: HttpRequest, queryset: models.QuerySet[Any]
    ) -> None:
        for shown in queryset:
            self.retire(shown, timezone.now())

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """Only what was chosen: nothing that hangs on it is deleted."""
        listed: list[Any] = [str(shown) for shown in objs]
        return listed, {str(self.opts.verbose_name_plural): len(listed)}, set(), []

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        gone = obj is not None and getattr(obj, self.retired_field) is not None
        return not gone and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        gone = obj is not None and getattr(obj, self.retired_field) is not None
        return not gone and super().has_delete_permission(request, obj)
