from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db.models import Min

from monitors.instants import InstantField
from monitors.models import Rebuild
from monitors.storage import TABLES, Size, sizes, whole_database

KEPT = {
    "single results": f"{settings.RESULT_RETENTION_DAYS} days",
    "answers of failures": f"{settings.RESULT_RETENTION_DAYS} days",
    "latency by hour and day": (
        f"hours {settings.LATENCY_HOURS_DAYS} days, days for ever"
    ),
    "periods of status": "for ever",
}


class Command(BaseCommand):
    help = "Say what is stored of the past, and what it costs."

    def handle(self, *args: Any, **options: Any) -> None:
        found = sizes()
        head = ("", "rows", "bytes", "a row", "oldest", "kept")
        rows = [head, *(self._row(name, size) for name, size in found.items())]
        widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
        for row in rows:
            cells = (
                cell.ljust(width) if n in (0, 5) else cell.rjust(width)
                for n, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            self.stdout.write("  ".join(cells).rstrip())
        self.stdout.write(f"\nThe whole database takes {_megabytes(whole_database())}.")
        if waiting := Rebuild.objects.count():
            self.stdout.write(f"{waiting:,} parts of the history wait to be rebuilt.")
        if any(size.bytes is None for size in found.values()):
            self.stdout.write(
                "This SQLite was built without dbstat and cannot tell the bytes of "
                "a table."
            )

    def _row(self, name: str, size: Size) -> tuple[str, ...]:
        taken = "" if size.bytes is None else _megabytes(size.bytes)
        each = f"{size.bytes / size.rows:.0f}" if size.bytes and size.rows else ""
        oldest = _oldest(name)
        since = f"{oldest:%Y-%m-%d}" if oldest else ""
        return name, f"{size.rows:,}", taken, each, since, KEPT[name]


def _oldest(name: str) -> datetime | None:
    model = TABLES[name]
    moments = [f.name for f in model._meta.fields if isinstance(f, InstantField)]
    first: datetime | None = model._default_manager.aggregate(at=Min(moments[0]))["at"]
    return first


def _megabytes(number: int) -> str:
    return f"{number / 1e6:,.1f} MB"
