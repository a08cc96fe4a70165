"""How large the tables of `monitors` are on disk, each with its indexes.

To be imported within a stage only.
"""

from pathlib import Path
from typing import Final

from django.apps import apps
from django.conf import settings
from django.db import OperationalError, connection, models

# Where only the whole file can be measured, all of it goes by this name.
FILE: Final = "file"
# A monitor has one of these, however old it is.
ONCE: Final = ("Monitor", "MonitorState")
DBSTAT: Final = """
    SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE aggregate = TRUE
    AND name IN (SELECT name FROM sqlite_master WHERE tbl_name = %s)
"""


def of_tables() -> dict[str, int]:
    """Bytes by the name of the model, or of the whole file where SQLite cannot say."""
    if connection.vendor == "sqlite" and not _has_dbstat():
        return {FILE: _file()}
    sql = "SELECT pg_total_relation_size(%s::regclass)"
    sql = DBSTAT if connection.vendor == "sqlite" else sql
    return {model.__name__: _number(sql, model._meta.db_table) for model in _models()}


def growth(before: dict[str, int]) -> dict[str, int]:
    """Bytes by which each has grown since; those that have not are left out."""
    grown = {name: size - before[name] for name, size in of_tables().items()}
    return {name: size for name, size in grown.items() if size > 0}


def results_of(grown: dict[str, int]) -> int:
    """What of it belongs to raw results; of a file, everything."""
    return grown.get(FILE, grown.get("CheckResult", 0))


def rows_of_tables() -> dict[str, int]:
    return {model.__name__: model._base_manager.count() for model in _models()}


def vacuum() -> None:
    """Let PostgreSQL use again what has been deleted, as it does by itself in time."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM")


def _models() -> list[type[models.Model]]:
    """The tables that grow with time."""
    found = apps.get_app_config("monitors").get_models(include_auto_created=True)
    return [model for model in found if model.__name__ not in ONCE]


def _has_dbstat() -> bool:
    try:
        _number("SELECT count(*) FROM dbstat WHERE name = %s", "")
    except OperationalError:
        return False
    return True


def _file() -> int:
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(settings.DATABASES["default"]["NAME"]).stat().st_size


def _number(sql: str, value: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, [value])
        return int(cursor.fetchone()[0])
