"""The list of incidents in the admin, of which there may be many thousands."""

from typing import Any, Final

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import InvalidPage
from django.http import HttpRequest

# Nobody leafs through more; the newest come first unless another order is chosen.
MOST_FOUND: Final = 500


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
        found: Any = self.queryset.values_list("pk", flat=True)
        pks: Any = list(found[:MOST_FOUND]) if self.query else found
        each = self.list_per_page
        self.paginator = self.model_admin.get_paginator(request, pks, each)
        self.result_count = number = self.paginator.count
        self.full_result_count = None
        self.show_full_result_count, self.show_admin_actions = False, True
        self.can_show_all = number <= self.list_max_show_all
        self.multi_page = number > each
        rows = self.root_queryset.filter(pk__in=self._shown(pks))
        in_order = rows.order_by(*self.queryset.query.order_by)
        self.result_list = in_order.select_related("owner")

    def _shown(self, pks: Any) -> list[int]:
        if not self.multi_page or (self.show_all and self.can_show_all):
            return list(pks)
        try:
            page: Any = self.paginator.page(self.page_num).object_list
        except InvalidPage as error:
            raise IncorrectLookupParameters from error
        return list(page)
