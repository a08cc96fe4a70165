import logging

from django.db import DatabaseError, migrations, transaction

logger = logging.getLogger(__name__)

# What a search compares, as Django writes `icontains` for PostgreSQL.
INDEXES = {
    "incidents_words_of_updates": "incidents_incidentupdate (UPPER(body)",
    "incidents_words_of_titles": "incidents_incident (UPPER(title::text)",
}


def find_words(apps, schema_editor):
    """Let words be found without reading everything, where pg_trgm can be had."""
    connection = schema_editor.connection
    if connection.vendor != "postgresql":
        return
    try:
        with transaction.atomic(connection.alias), connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except DatabaseError:
        logger.warning("Without the extension pg_trgm, searching incidents is slower")
        return
    for name, what in INDEXES.items():
        table, _, words = what.partition(" (")
        schema_editor.execute(
            f"CREATE INDEX IF NOT EXISTS {name} ON {table} "
            f"USING gin ({words} gin_trgm_ops)"
        )


def forget_words(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name in INDEXES:
            schema_editor.execute(f"DROP INDEX IF EXISTS {name}")


class Migration(migrations.Migration):
    dependencies = [("incidents", "0009_merged_private_and_nagged")]

    operations = [migrations.RunPython(find_words, forget_words)]
