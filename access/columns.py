"""What one statement reads beside its own rows."""

from typing import Any

from django.db.models import F, Func, IntegerField, QuerySet, Subquery


def number(found: QuerySet[Any]) -> Subquery:
    """How many rows there are, as a column of another statement."""
    counted = Func(F("pk"), function="COUNT", output_field=IntegerField())
    return Subquery(found.order_by().annotate(n=counted).values("n"))
