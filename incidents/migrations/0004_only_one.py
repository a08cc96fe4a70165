from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("incidents", "0003_carry_over")]

    operations = [
        migrations.AddConstraint(
            model_name='incident',
            constraint=models.UniqueConstraint(condition=models.Q(('deleted_at', None), ('discarded_at', None), ('ended_at', None)), fields=('rule', 'monitor'), name='one_open_incident_per_rule_and_monitor'),
        ),
        migrations.AddConstraint(
            model_name='incident',
            constraint=models.UniqueConstraint(condition=models.Q(('deleted_at', None), ('discarded_at', None), ('ended_at', None), ('is_umbrella', True)), fields=('is_umbrella',), name='one_open_umbrella'),
        ),
    ]
