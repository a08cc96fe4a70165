"""The log of alerts as a file: CSV or JSON, row by row, as long as it may be."""

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from django.db.models import QuerySet

from .models import Alert

MOST_ROWS: Final = 100_000
CUT: Final = f"Cut off after {MOST_ROWS:,} alerts; filter for fewer."
COLUMNS: Final = {
    "id": "pk",
    "state": "state",
    "severity": "severity",
    "monitor": "monitor_tag",
    "monitor_name": "monitor_name",
    "rule": "rule_id",
    "rule_name": "rule_name",
    "alert_for": "alert_for",
    "alert_value": "alert_value",
    "observed": "observed",
    "error": "error",
    "began_at": "began_at",
    "triggered_at": "triggered_at",
    "resolved_at": "resolved_at",
    "incident": "incident_number",
    "withheld": "withheld",
    "acknowledged_at": "acknowledged_at",
    "acknowledged_by": "acknowledged_by",
    "note": "note",
}
# A spreadsheet takes a text that begins so for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def as_csv(alerts: QuerySet[Alert]) -> Iterator[str]:
    write = csv.writer(_Echo()).writerow
    yield write(COLUMNS)
    for row in _rows(alerts):
        yield write([CUT]) if row is None else write(safe(v) for v in row.values())


def as_json(alerts: QuerySet[Alert]) -> Iterator[str]:
    """An object with the alerts, and whether there are more than it has."""
    yield '{"alerts": ['
    is_cut, comma = False, ""
    for row in _rows(alerts):
        if row is None:
            is_cut = True
        else:
            yield f"{comma}\n{json.dumps(row, ensure_ascii=False)}"
            comma = ","
    yield f'\n], "is_cut": {json.dumps(is_cut)}}}\n'


def safe(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _rows(alerts: QuerySet[Alert]) -> Iterator[Mapping[str, Any] | None]:
    """The rows, with moments as text; None at the end if there would be more."""
    found = alerts.values_list(*COLUMNS.values())[: MOST_ROWS + 1]
    for n, row in enumerate(found.iterator(chunk_size=2000)):
        if n == MOST_ROWS:
            yield None
            return
        yield dict(zip(COLUMNS, map(_plain, row), strict=True))


def _plain(value: Any) -> Any:
    is_moment = isinstance(value, datetime)
    return value.isoformat().replace("+00:00", "Z") if is_moment else value


class _Echo:
    """What the csv module writes to: it gives each line back."""

    def write(self, line: str) -> str:
        return line


FORMATS: Final[Mapping[str, tuple[str, Any]]] = {
    "csv": ("text/csv; charset=utf-8", as_csv),
    "json": ("application/json", as_json),
}
