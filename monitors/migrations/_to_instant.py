"""Turns a column of datetimes into one of milliseconds since 1970, keeping them."""

from typing import Any

from django.db import migrations


class ToInstant(migrations.AlterField):
    """AlterField to an InstantField; PostgreSQL has to be told how to convert,
    SQLite copies the texts as they are and converts them afterwards."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        table, column = model._meta.db_table, model._meta.get_field(self.name).column
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(
                f'ALTER TABLE "{table}" ALTER COLUMN "{column}" TYPE bigint USING '
                f'(EXTRACT(EPOCH FROM "{column}") * 1000)::bigint'
            )
            return
        super().database_forwards(app_label, schema_editor, from_state, to_state)
        schema_editor.execute(
            f'UPDATE "{table}" SET "{column}" = CAST(ROUND('
            f"(julianday(\"{column}\") - 2440587.5) * 86400000.0) AS INTEGER) "
            f"WHERE typeof(\"{column}\") = 'text'"
        )
