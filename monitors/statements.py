"""One UPDATE for many rows, each with values of its own.

bulk_update() spells out a CASE for every field and row, and the ORM then walks
all of it: measured on 300 rows it costs some fifty times the statement below.
"""

from collections.abc import Sequence
from typing import Any, Final

from django.db import connection, models, transaction

# Well under the most parameters that any SQLite of the last years takes.
MOST_PARAMETERS: Final = 30_000


def update_rows(
    model: type[models.Model],
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    version: str = "",
    rising: str = "",
) -> int:
    """Write rows of values for the fields named; return how many were changed.

    The first field is the key. With `version`, a row changes only if that field
    still has the value given, and then goes up by one. With `rising`, a row
    changes only if that field grows.
    """
    at_once = MOST_PARAMETERS // len(names)
    if rows and connection.features.has_select_for_update:
        with transaction.atomic():
            # Two workers that lock the same rows do it in the same order.
            keys = {f"{names[0]}__in": [row[0] for row in rows]}
            locked = model._default_manager.select_for_update(no_key=True)
            list(locked.filter(**keys).order_by(names[0]).values_list(names[0]))
            return _update_all(model, names, rows, at_once, version, rising)
    return _update_all(model, names, rows, at_once, version, rising)


def _update_all(
    model: type[models.Model],
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    at_once: int,
    version: str,
    rising: str,
) -> int:
    return sum(
        _update(model, names, rows[start : start + at_once], version, rising)
        for start in range(0, len(rows), at_once)
    )


def _update(
    model: type[models.Model],
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    version: str,
    rising: str,
) -> int:
    fields = [_field(model, name) for name in names]
    columns = [f'"{field.column}"' for field in fields]
    key, *others = columns
    conditions = [f"old.{key} = new.{key}"]
    values = {column: f"new.{column}" for column in others}
    if version:
        column = f'"{_field(model, version).column}"'
        conditions.append(f"old.{column} = new.{column}")
        values[column] = f"new.{column} + 1"
    if rising:
        column = f'"{_field(model, rising).column}"'
        conditions.append(f"old.{column} < new.{column}")
    one = f"({', '.join(['%s'] * len(fields))})"
    # PostgreSQL takes the types of VALUES from its first row.
    typed = f"({', '.join(_typed(field) for field in fields)})"
    sql = (
        f"WITH new ({', '.join(columns)}) AS "
        f"(VALUES {', '.join([typed, *[one] * (len(rows) - 1)])}) "
        f'UPDATE "{model._meta.db_table}" AS old '
        f"SET {', '.join(f'{name} = {value}' for name, value in values.items())} "
        f"FROM new WHERE {' AND '.join(conditions)}"
    )
    adapt = [field.get_db_prep_value for field in fields]
    parameters = [
        prepare(value, connection)
        for row in rows
        for prepare, value in zip(adapt, row, strict=True)
    ]
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.rowcount


def _field(model: type[models.Model], name: str) -> "models.Field[Any, Any]":
    field = model._meta.get_field(name)
    assert isinstance(field, models.Field)
    return field


def _typed(field: "models.Field[Any, Any]") -> str:
    if connection.vendor != "postgresql":
        return "%s"
    return f"%s::{field.rel_db_type(connection) or field.db_type(connection)}"
