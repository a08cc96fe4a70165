
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('incidents', '0005_maintenance'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='TimelineEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('happened_at', models.DateTimeField()),
                ('recorded_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('kind', models.CharField(choices=[('OPENED', 'Opened'), ('ALERT', 'Alert'), ('UPDATE', 'Update'), ('NOTE', 'Internal note'), ('SCHEDULED', 'Scheduled'), ('EDITED', 'Edited'), ('WITHDRAWN', 'Taken back'), ('STATE', 'State'), ('TITLE', 'Title'), ('SEVERITY', 'Severity'), ('BEGAN', 'Beginning'), ('IMPACT', 'Impact'), ('PUBLISHED', 'Published'), ('HELD', 'Held'), ('DISCARDED', 'Discarded'), ('DELETED', 'Deleted')], max_length=10)),
                ('actor', models.CharField(default='Tocsin', max_length=150)),
                ('text', models.CharField(max_length=500)),
                ('facts', models.JSONField(default=dict)),
            ],
            options={
                'verbose_name_plural': 'timeline entries',
                'ordering': ['-happened_at', '-pk'],
            },
        ),
        migrations.CreateModel(
            name='UpdateTemplate',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True)),
                ('state', models.CharField(choices=[('INVESTIGATING', 'Investigating'), ('IDENTIFIED', 'Identified'), ('MONITORING', 'Monitoring'), ('RESOLVED', 'Resolved')], default='INVESTIGATING', max_length=15)),
                ('body', models.TextField(help_text='Markdown. Names in braces are filled in: {{incident.title}}, {{incident.state}}, {{incident.severity}}, {{incident.url}}, {{monitors}}, {{duration}}, {{started_at}}', max_length=20000)),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='UpdateVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[('INVESTIGATING', 'Investigating'), ('IDENTIFIED', 'Identified'), ('MONITORING', 'Monitoring'), ('RESOLVED', 'Resolved')], max_length=15)),
                ('body', models.TextField(max_length=20000)),
                ('at', models.DateTimeField()),
                ('replaced_at', models.DateTimeField()),
                ('replaced_by', models.CharField(blank=True, max_length=150)),
            ],
            options={
                'ordering': ['replaced_at', 'pk'],
            },
        ),
        migrations.AddField(
            model_name='incidentupdate',
            name='deleted_at',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name='incidentupdate',
            name='edited_at',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name='incidentupdate',
            name='is_internal',
            field=models.BooleanField(default=False, editable=False),
        ),
        migrations.AddField(
            model_name='incidentupdate',
            name='notifies',
            field=models.BooleanField(default=True, editable=False),
        ),
        migrations.AddField(
            model_name='incidentupdate',
            name='publish_at',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name='incidentupdate',
            name='written_by',
            field=models.CharField(blank=True, editable=False, max_length=150),
        ),
        migrations.AddIndex(
            model_name='incidentupdate',
            index=models.Index(condition=models.Q(('publish_at', None), _negated=True), fields=['publish_at'], name='updates_to_publish'),
        ),
        migrations.AddField(
            model_name='timelineentry',
            name='incident',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='timeline', to='incidents.incident'),
        ),
        migrations.AddField(
            model_name='updateversion',
            name='update',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='versions', to='incidents.incidentupdate'),
        ),
        migrations.AddIndex(
            model_name='timelineentry',
            index=models.Index(fields=['incident', '-happened_at'], name='timeline_newest_first'),
        ),
    ]
