"""The list of incidents in the admin, of which there may be many thousands."""

from collections.abc import Sequence
from typing import Final

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.db.models import Count, Window
from django.http import HttpRequest

# Nobody leafs through more; the newest come first unless another order is chosen.
MOST_FOUND: Final = 200
# More than anybody has; a page that no database could count to is none.
MOST_ROWS: Final = 1 << 31


class IncidentList(ChangeList):
    """Finds first which are shown, and then reads those alone, where that is less.

    A search would be made twice, to count and to show; and in another order, or far
    down, what is shown of each would be worked out for all that come before.
    """

    def get_results(self, request: HttpRequest) -> None:
        is_usual = self.page_num == 1 and ORDER_VAR not in self.params
        if is_usual and not self.query:
            super().get_results(request)
            return
        keys, number = self._search() if self.query else self._page()
        each = self.list_per_page
        self.paginator = self.model_admin.get_paginator(request, self.queryset, each)
        # Known already: it would be counted once more.
        self.paginator.count = number
        self.result_count, self.full_result_count = number, None
        self.show_full_result_count, self.show_admin_actions = False, True
        self.can_show_all = number <= self.list_max_show_all
        self.multi_page = number > each
        rows = self.root_queryset.filter(pk__in=keys)
        in_order = rows.order_by(*self.queryset.query.order_by)
        self.result_list = in_order.select_related("owner")

    def _search(self) -> tuple[Sequence[int], int]:
        """Return which are shown of those found, and how many were."""
        found = list(self.queryset.values_list("pk", flat=True)[:MOST_FOUND])
        return found[self._shown(len(found))], len(found)

    def _page(self) -> tuple[Sequence[int], int]:
        """The same of a page in another order or far down, in one statement."""
        counted = self.queryset.annotate(number=Window(Count("pk")))
        most = self.list_max_show_all if self.show_all else MOST_ROWS
        found = list(counted.values_list("pk", "number")[self._shown(most)])
        if not found and self.page_num > 1:
            raise IncorrectLookupParameters
        number = found[0][1] if found else 0
        if number > self.list_max_show_all:
            found = found[: self.list_per_page]
        return [pk for pk, _ in found], number

    def _shown(self, most: int) -> slice:
        """Which of so many rows the page shows."""
        if self.show_all and most <= self.list_max_show_all:
            return slice(0, most)
        start = (self.page_num - 1) * self.list_per_page
        if not 0 <= start <= max(0, most - 1):
            raise IncorrectLookupParameters
        return slice(start, start + self.list_per_page)
