"""The list of incidents in the admin, of which there may be many thousands.

A page takes one statement, a search another one before it; see also `list_filters`.
"""

from typing import Any, Final

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import (
    Aggregate,
    Count,
    F,
    Func,
    IntegerField,
    OuterRef,
    QuerySet,
    Subquery,
    TextField,
)
from django.db.models.functions import Coalesce
from django.http import HttpRequest

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
        keys = list(self._found().values_list("pk", flat=True)[:MOST_FOUND])
        if self._first() > max(0, len(keys) - 1):
            raise IncorrectLookupParameters
        last = self._first() + self._length(len(keys))
        return len(keys), self._rows(keys[self._first() : last])

    def _page(self) -> tuple[int, list[Incident]]:
        """The same of a page without a search, in one statement."""
        found = self._found()
        # If all are asked for, it is known only afterwards whether they are too many.
        last = self._first() + self._length(self.list_max_show_all)
        rows = self._rows(found.values("pk")[self._first() : last], of=_number(found))
        if not rows and self.page_num > 1:
            raise IncorrectLookupParameters
        number = rows[0].of if rows else 0
        if number > self.list_max_show_all:
            rows = rows[: self.list_per_page]
        return number, rows

    def _first(self) -> int:
        first: int = (self.page_num - 1) * self.list_per_page
        # More than anybody has; a page that no database could count to is none.
        if not 0 <= first < 1 << 31:
            raise IncorrectLookupParameters
        return 0 if self.show_all else first

    def _length(self, number: int) -> int:
        """How many are shown of so many."""
        shows_all = self.show_all and number <= self.list_max_show_all
        return number if shows_all else self.list_per_page

    def _found(self) -> QuerySet[Incident]:
        """All that are listed, each once."""
        found: QuerySet[Incident] = self.queryset
        if not found.query.distinct:
            return found
        once = self.root_queryset.filter(pk__in=found.order_by().values("pk"))
        return once.order_by(*found.query.order_by)

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


def _number(found: QuerySet[Any]) -> Subquery:
    """How many there are, as a column of the statement that reads some."""
    counted = Func(F("pk"), function="COUNT", output_field=IntegerField())
    return Subquery(found.order_by().annotate(n=counted).values("n"))
