from itertools import groupby

import django.db.models.deletion
from django.db import migrations, models

# So many incidents are written at once.
AT_ONCE = 500
# What searches read once, where PostgreSQL had it.
INDEXES = ("incidents_words_of_updates", "incidents_words_of_titles")


def fill(apps, schema_editor):
    """Write down the words of every incident there is."""
    SearchText = apps.get_model("incidents", "SearchText")
    Incident = apps.get_model("incidents", "Incident")
    IncidentUpdate = apps.get_model("incidents", "IncidentUpdate")
    titles = list(Incident.objects.order_by("pk").values_list("pk", "title"))
    for n in range(0, len(titles), AT_ONCE):
        few = dict(titles[n : n + AT_ONCE])
        said = {pk: ("", "") for pk in few}
        updates = IncidentUpdate._base_manager.filter(
            incident__gte=min(few), incident__lte=max(few), deleted_at=None
        )
        in_order = updates.order_by("incident", "pk").values_list(
            "incident", "body", "is_internal", "publish_at"
        )
        for pk, lines in groupby(in_order, key=lambda line: line[0]):
            said[pk] = words_of(lines)
        SearchText.objects.bulk_create(
            SearchText(
                incident_id=pk,
                title=title.casefold(),
                told=said[pk][0],
                internal=said[pk][1],
            )
            for pk, title in few.items()
        )


def words_of(lines):
    told, internal = [], []
    for _, body, is_internal, publish_at in lines:
        column = internal if is_internal or publish_at else told
        column.append(f"\n{body.casefold()}")
    return "".join(told), "".join(internal)


def drop_indexes(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name in INDEXES:
            schema_editor.execute(f"DROP INDEX IF EXISTS {name}")


class Migration(migrations.Migration):
    dependencies = [("incidents", "0010_words_found_on_postgresql")]

    operations = [
        migrations.CreateModel(
            name="SearchText",
            fields=[
                (
                    "incident",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="search_text",
                        serialize=False,
                        to="incidents.incident",
                    ),
                ),
                ("title", models.TextField(blank=True)),
                ("told", models.TextField(blank=True)),
                ("internal", models.TextField(blank=True)),
            ],
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RunPython(drop_indexes, migrations.RunPython.noop),
    ]
