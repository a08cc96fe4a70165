"""What the history costs on disk."""

from typing import Final, NamedTuple

from django.db import connection, models

from .models import CheckResult, FailureEpisode, LatencyBucket, StatusPeriod

TABLES: Final[dict[str, type[models.Model]]] = {
    "single results": CheckResult,
    "answers of failures": FailureEpisode,
    "latency by hour and day": LatencyBucket,
    "periods of status": StatusPeriod,
}


class Size(NamedTuple):
    """Rows, and the bytes of the table with its indexes; None if nobody can tell."""

    rows: int
    bytes: int | None


def sizes() -> dict[str, Size]:
    """Return what each part of the history takes."""
    return {
        name: Size(model._default_manager.count(), bytes_of(model))
        for name, model in TABLES.items()
    }


def bytes_of(model: type[models.Model]) -> int | None:
    """Return the bytes of a table and its indexes, as the database counts them."""
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_total_relation_size(%s)", [f'"{table}"'])
            return int(cursor.fetchone()[0])
        if not _has_dbstat():
            return None
        cursor.execute(
            "SELECT SUM(pgsize) FROM dbstat WHERE aggregate = TRUE AND name IN "
            "(SELECT name FROM sqlite_schema WHERE tbl_name = %s)",
            [table],
        )
        return int(cursor.fetchone()[0] or 0)


def _has_dbstat() -> bool:
    """Whether SQLite was built with the table that knows the pages of others."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pragma_compile_options "
            "WHERE compile_options = 'ENABLE_DBSTAT_VTAB'"
        )
        return cursor.fetchone() is not None


def whole_database() -> int:
    """Return the bytes of all there is."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_database_size(current_database())")
            return int(cursor.fetchone()[0])
        cursor.execute(
            "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        )
        return int(cursor.fetchone()[0])
