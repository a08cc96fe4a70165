from django.db import migrations
from django.db.models import Q


def say_whose_they_are(apps, schema_editor):
    """A decision was known by its alert; now by rule, monitor and episode."""
    Decision = apps.get_model("alerting", "Decision")
    for decision in Decision.objects.select_related("alert"):
        decision.rule_id = decision.alert.rule_id
        decision.monitor_id = decision.alert.monitor_id
        decision.episode_at = decision.alert.began_at
        decision.save()
    Decision.objects.filter(Q(rule=None) | Q(monitor=None)).delete()


def say_who_made_them(apps, schema_editor):
    Transition = apps.get_model("alerting", "Transition")
    Transition.objects.filter(reason__endswith="in a row").update(is_evaluated=True)


class Migration(migrations.Migration):

    dependencies = [("alerting", "0003_trusted_rules")]

    operations = [
        migrations.RunPython(say_whose_they_are, migrations.RunPython.noop),
        migrations.RunPython(say_who_made_them, migrations.RunPython.noop),
    ]
