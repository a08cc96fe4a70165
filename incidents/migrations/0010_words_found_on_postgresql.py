from django.db import migrations


class Migration(migrations.Migration):
    """It made indexes that only PostgreSQL has; what 0011 keeps serves everywhere."""

    dependencies = [("incidents", "0009_merged_private_and_nagged")]

    operations = []
