"""Many rows in one statement, as plain values of the database.

bulk_update() spells out a CASE for every field and row, and the ORM then walks
all of it: measured on 300 rows it costs some fifty times the UPDATE below.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from django.db import connection, models, transaction

# Well under the most parameters that any SQLite of the last years takes.
MOST_PARAMETERS: Final = 30_000


def update_rows(
    model: type[models.Model],
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    keys: int = 1,
    version: str = "",
    rising: str = "",
) -> int:
    """Write rows of values for the fields named; return how many were changed.

    The values are as the database takes them: moments in milliseconds, JSON as
    text.
    The first fields are the key. With `version`, a row changes only if that field
    still has the value given, and then goes up by one. With `rising`, a row
    changes only if that field grows.
    """
    at_once = MOST_PARAMETERS // len(names)
    return sum(
        _update(model, names, rows[start : start + at_once], keys, version, rising)
        for start in range(0, len(rows), at_once)
    )


def select_rows(
    model: type[models.Model],
    names: Sequence[str],
    key: str,
    values: Sequence[Any],
    *,
    where: str = "",
    lock: bool = False,
) -> list[tuple[Any, ...]]:
    """Return the fields named of the rows whose key is among the values.

    In the order of the key, and as the database gives them. With `lock`, the
    rows are held until the transaction ends.
    """
    column = _field(model, key).column
    sql = (
        f"SELECT {', '.join(_columns(model, names))} "
        f'FROM "{model._meta.db_table}" WHERE "{column}" IN ({{}}) '
        f'{f"AND {where} " if where else ""}ORDER BY "{column}"'
    )
    if lock and connection.features.has_select_for_update:
        sql += " FOR NO KEY UPDATE"
    found: list[tuple[Any, ...]] = []
    with connection.cursor() as cursor:
        for start in range(0, len(values), MOST_PARAMETERS):
            some = values[start : start + MOST_PARAMETERS]
            cursor.execute(sql.format(", ".join(["%s"] * len(some))), some)
            found += cursor.fetchall()
    return found


def insert_rows(
    model: type[models.Model],
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    ignore: bool = False,
    conflict: str = "",
) -> None:
    """Insert rows of values for the fields named, as the database takes them.

    With `ignore`, a row that is there already stays as it is; `conflict` says in
    SQL what else becomes of it.
    """
    at_once = MOST_PARAMETERS // len(names)
    one = f"({', '.join(['%s'] * len(names))})"
    end = f" ON CONFLICT {conflict or 'DO NOTHING'}" if ignore or conflict else ""
    sql = (
        f'INSERT INTO "{model._meta.db_table}" '
        f"({', '.join(_columns(model, names))}) VALUES "
    )
    with connection.cursor() as cursor:
        for start in range(0, len(rows), at_once):
            some = rows[start : start + at_once]
            values = [value for row in some for value in row]
            cursor.execute(sql + ", ".join([one] * len(some)) + end, values)


def written(model: type[models.Model], name: str, value: Any) -> Any:
    """Return a value of Python as the database takes it for this field."""
    return _field(model, name).get_db_prep_save(value, connection)


def _columns(model: type[models.Model], names: Sequence[str]) -> list[str]:
    return [f'"{_field(model, name).column}"' for name in names]


@contextmanager
def locked_in_order(
    model: type[models.Model], key: str, values: Sequence[Any]
) -> Iterator[None]:
    """Hold the rows, locked in the order of their key, where rows can be locked.

    Two workers that update the same rows then wait for each other instead of
    running into a deadlock.
    """
    if not connection.features.has_select_for_update:
        yield
        return
    with transaction.atomic():
        wanted = model._default_manager.filter(**{f"{key}__in": values})
        rows = wanted.select_for_update(no_key=True).order_by(key)
        list(rows.values_list(key))
        yield


def _update(
    model: type[models.Model],
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    keys: int,
    version: str,
    rising: str,
) -> int:
    fields = [_field(model, name) for name in names]
    columns = [f'"{field.column}"' for field in fields]
    conditions = [f"old.{column} = new.{column}" for column in columns[:keys]]
    values = {column: f"new.{column}" for column in columns[keys:]}
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
    named = ", ".join(f"column{n} AS {name}" for n, name in enumerate(columns, 1))
    # Not WITH … UPDATE: of that, SQLite's driver does not count the rows.
    sql = (
        f'UPDATE "{model._meta.db_table}" AS old '
        f"SET {', '.join(f'{name} = {value}' for name, value in values.items())} "
        f"FROM (SELECT {named} FROM "
        f"(VALUES {', '.join([typed, *[one] * (len(rows) - 1)])}) AS given) AS new "
        f"WHERE {' AND '.join(conditions)}"
    )
    parameters = [value for row in rows for value in row]
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
