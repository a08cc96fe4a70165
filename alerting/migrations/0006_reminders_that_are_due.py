from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("alerting", "0005_one_decision_per_episode")]

    operations = [
        migrations.RemoveIndex(model_name="alert", name="alerts_by_state"),
        migrations.AddIndex(
            model_name="alert",
            index=models.Index(fields=["state", "remind_at"], name="alerts_by_state"),
        ),
    ]
