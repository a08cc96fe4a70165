"""The list of incidents in the admin, of which there may be many thousands.

A page takes one statement, a search another one before it; see also `list_filters`.
"""

from collections.abc import Sequence
from typing import Any, Final

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import (
    Aggregate,
    Count,
    OuterRef,
    QuerySet,
    Subquery,
    TextField,
)
from django.db.models.functions import Coalesce
from django.http import HttpRequest

from access import columns

from .models import Impact, Incident, IncidentUpdate

# Nobody leafs through more; the newest come first unless another order is chosen.
MOST_FOUND: Final = 200
# No name has it.
BETWEEN: Final = "\x1f"


class IncidentList(ChangeList):
    """Finds which are shown by their keys, and reads and works out those alone.

    Otherwise a search would be made twice, to count and to show, and what is shown
    of each be worked out for all that come before in another order.
    """

    # What a search has found, newest first unless another order is chosen.
    found: Sequence[int] = ()

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: Any = None
    ) -> QuerySet[Incident]:
        """All that are listed, each once; what is done with all is done with these."""
        listed: QuerySet[Incident] = super().get_queryset(request, exclude_parameters)
        order = listed.query.order_by
        if self.query:
            self.found = list(listed.values_list("pk", flat=True)[:MOST_FOUND])
            return self.root_queryset.filter(pk__in=self.found).order_by(*order)
        if not listed.query.distinct:
            return listed
        once = self.root_queryset.filter(pk__in=listed.order_by().values("pk"))
        return once.order_by(*order)

    def get_results(self, request: HttpRequest) -> None:
        number, self.result_list = self._search() if self.query else self._page()
        each = self.list_per_page
        self.paginator = self.model_admin.get_paginator(request, self.queryset, each)
        # Known already: it would be counted once more.
        self.paginator.count = number
        self.result_count, self.full_result_count = number, None
        self.show_full_result_count, self.show_admin_actions = False, True
        self.can_show_all = number <= self.list_max_show_all
        self.multi_page = number > each

    def _search(self) -> tuple[int, list[Incident]]:
        """Return how many were found, and those that are shown."""
        number = len(self.found)
        first, length = self._place()
        if first > max(0, number - 1):
            raise IncorrectLookupParameters
        return number, self._rows(self.found[first : first + length])

    def _page(self) -> tuple[int, list[Incident]]:
        """The same of a page without a search, in one statement."""
        first, length = self._place()
        keys = self.queryset.values("pk")[first : first + length]
        rows = self._rows(keys, of=columns.number(self.queryset))
        if not rows and self.page_num > 1:
            raise IncorrectLookupParameters
        number = rows[0].of if rows else 0
        if self.show_all and number > self.list_max_show_all:
            self.show_all = False
            return self._page()
        return number, rows

    def _place(self) -> tuple[int, int]:
        """From where on how many are shown."""
        if self.show_all:
            return 0, self.list_max_show_all
        first = (self.page_num - 1) * self.list_per_page
        # More than anybody has; a page that no database could count to is none.
        if not 0 <= first < 1 << 31:
            raise IncorrectLookupParameters
        return first, self.list_per_page

    def _rows(self, keys: Any, **more: Any) -> list[Any]:
        """The incidents with these keys, with what is shown of each."""
        rows = self.root_queryset.filter(pk__in=keys).prefetch_related(None)
        in_order = rows.order_by(*self.queryset.query.order_by)
        return list(in_order.select_related("owner").annotate(**shown(), **more))


def shown() -> dict[str, Any]:
    """What a row tells of an incident beside its own facts."""
    told = IncidentUpdate.objects.filter(incident=OuterRef("pk")).order_by()
    number = told.values("incident").annotate(n=Count("pk")).values("n")
    impacts = Impact.objects.filter(incident=OuterRef("pk")).order_by()
    named = impacts.values("incident").annotate(names=_Joined("monitor__name"))
    return {
        "said": Coalesce(Subquery(number), 0),
        "affected": Subquery(named.values("names")),
    }


def affected(incident: Any) -> list[str]:
    """The names of the monitors it affects, in their order, each once."""
    joined = incident.affected
    names = set(joined.split(BETWEEN)) if joined else set()
    return sorted(names, key=str.casefold)


class _Joined(Aggregate):
    """Several texts as one."""

    function = "GROUP_CONCAT"
    template = "%(function)s(%(expressions)s, CHR(31))"
    output_field = TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **more: Any) -> Any:
        template = self.template.replace("CHR", "CHAR")
        return super().as_sql(compiler, connection, template=template, **more)

    def as_postgresql(self, compiler: Any, connection: Any, **more: Any) -> Any:
        return super().as_sql(compiler, connection, function="STRING_AGG", **more)
