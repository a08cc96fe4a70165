"""What the list of incidents in the admin is filtered by."""

from collections import defaultdict
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import CharField, Exists, F, OuterRef, Q, QuerySet, Value
from django.http import HttpRequest

from access import desk
from monitors.models import Label

from .models import Incident, SeverityLabels, State, severity_labels

Choices = list[tuple[int, str]]


class OpenFilter(admin.SimpleListFilter):
    title = "open"
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Open"), ("no", "Resolved")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Incident]
    ) -> QuerySet[Incident]:
        resolved = Q(state=State.RESOLVED)
        chosen = {"yes": ~resolved, "no": resolved}
        return queryset.filter(chosen.get(self.value() or "", Q()))


class VisibilityFilter(admin.SimpleListFilter):
    """Leaves out what was discarded, unless it is asked for."""

    title = "seen by"
    parameter_name = "seen"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("public", "Everybody"),
            ("draft", "Operators: drafts"),
            ("private", "Some operators: private"),
            ("discarded", "Nobody: discarded or merged"),
        ]

    def choices(self, changelist: Any) -> Any:
        choices = super().choices(changelist)
        yield {**next(choices), "display": "All but discarded"}
        yield from choices

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Incident]
    ) -> QuerySet[Incident]:
        waiting = Q(published_at=None, discarded_at=None, is_private=False)
        chosen = {
            "public": ~Q(published_at=None) & Q(merged_into=None),
            "draft": waiting,
            "private": Q(is_private=True),
            "discarded": ~Q(discarded_at=None),
        }
        return queryset.filter(chosen.get(self.value() or "", Q(discarded_at=None)))


class DeletedFilter(desk.RetiredFilter):
    parameter_name = "deleted"
    field = "deleted_at"
    title = "deleted"


def offered(request: HttpRequest) -> dict[str, Choices]:
    """What the filters offer: severities, and the owners and labels that are in use.

    Looked up once in a request, in one statement. Who may not see a private
    incident does not learn what it is filed under either.
    """
    kept: Any = request
    if not hasattr(kept, "offered"):
        kept.offered = _look_up(request)
    found: dict[str, Choices] = kept.offered
    return found


def _look_up(request: HttpRequest) -> dict[str, Choices]:
    seen = Incident.objects.visible_to(request.user).order_by()
    owners = User.objects.filter(Exists(seen.filter(owner=OuterRef("pk"))))
    labels = Label.objects.filter(Exists(seen.filter(labels=OuterRef("pk"))))
    statement = _as("owner", owners, F("pk"), "username").union(
        _as("labels", labels, F("pk"), "name"),
        *(
            _as("severity", SeverityLabels.objects.all(), Value(severity), field)
            for severity, field in SeverityLabels.FIELDS.items()
        ),
        all=True,
    )
    found: dict[str, Choices] = defaultdict(list)
    for kind, key, name in statement:
        found[kind].append((key, name))
    severity_labels.remember(dict(found["severity"]))
    found["severity"] = [*severity_labels.names().items()]
    for kind in ("owner", "labels"):
        found[kind].sort(key=lambda choice: choice[1].casefold())
    return found


def _as(kind: str, rows: QuerySet[Any], key: Any, name: str) -> QuerySet[Any, Any]:
    said = Value(kind, CharField())
    return rows.order_by().values_list(said, key, F(name))


class InUse(admin.RelatedFieldListFilter):
    """Offers what some incident has."""

    def has_output(self) -> bool:
        # What is asked for counts also where nothing is offered.
        return bool(self.used_parameters) or super().has_output()

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        return offered(request)[field.name]


class SeverityFilter(admin.SimpleListFilter):
    title = "severity"
    parameter_name = "severity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(key), name) for key, name in offered(request)["severity"]]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Incident]
    ) -> QuerySet[Incident]:
        chosen = dict(self.lookup_choices)
        asked = self.value()
        return queryset.filter(severity=int(asked)) if asked in chosen else queryset
