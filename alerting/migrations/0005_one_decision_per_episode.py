import django.db.models.deletion
import monitors.instants
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("alerting", "0004_decisions_of_rules")]

    operations = [
        migrations.AlterField(
            model_name="decision",
            name="rule",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="decisions", to="alerting.alertrule"),
        ),
        migrations.AlterField(
            model_name="decision",
            name="monitor",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="decisions", to="monitors.monitor"),
        ),
        migrations.AlterField(
            model_name="decision",
            name="episode_at",
            field=monitors.instants.InstantField(),
        ),
        migrations.AddConstraint(
            model_name='decision',
            constraint=models.UniqueConstraint(fields=('rule', 'monitor', 'gate', 'episode_at'), name='one_decision_per_gate_and_episode'),
        ),
    ]
