import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import monitors.instants
import monitors.models.result
import monitors.models.state
import monitors.models.status

from ._to_instant import ToInstant


class Migration(migrations.Migration):

    dependencies = [
        ('monitors', '0001_initial'),
    ]

    operations = [
        migrations.RenameModel('CheckResult', 'OldCheckResult'),
        migrations.CreateModel(
            name='Correction',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('started_at', monitors.instants.InstantField()),
                ('ended_at', monitors.instants.InstantField()),
                ('status', models.CharField(choices=[('up', 'It was up'), ('degraded', 'It was degraded'), ('down', 'It was down'), ('maintenance', 'It was maintenance'), ('no_data', 'Leave this time out')], max_length=12)),
                ('reason', models.CharField(help_text='Why, for whoever reads it.', max_length=300)),
                ('author', models.CharField(editable=False, max_length=150)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('undone_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('undone_by', models.CharField(blank=True, editable=False, max_length=150)),
            ],
            options={
                'ordering': ['-started_at', '-pk'],
            },
        ),
        migrations.CreateModel(
            name='EngineMinute',
            fields=[
                ('pk', models.CompositePrimaryKey('worker', 'at', blank=True, editable=False, primary_key=True, serialize=False)),
                ('worker', models.CharField(max_length=150)),
                ('at', monitors.instants.InstantField(db_index=True)),
                ('checks', models.PositiveIntegerField(default=0)),
                ('lateness', models.BinaryField(default=bytes)),
                ('flushes', models.BinaryField(default=bytes)),
            ],
        ),
        migrations.CreateModel(
            name='FailureEpisode',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('began_at', monitors.instants.InstantField()),
                ('last_at', monitors.instants.InstantField()),
                ('first', models.JSONField(default=dict)),
                ('last', models.JSONField(default=dict)),
            ],
            options={
                'ordering': ['-began_at'],
            },
        ),
        migrations.CreateModel(
            name='LatencyBucket',
            fields=[
                ('monitor', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='latency_buckets', to='monitors.monitor')),
                ('pk', models.CompositePrimaryKey('monitor', 'size', 'at', blank=True, editable=False, primary_key=True, serialize=False)),
                ('size', models.PositiveSmallIntegerField(choices=[(1, 'Hour'), (24, 'Day')])),
                ('at', monitors.instants.InstantField()),
                ('count', models.PositiveIntegerField()),
                ('total', models.FloatField()),
                ('least', models.FloatField()),
                ('most', models.FloatField()),
                ('sketch', models.BinaryField()),
            ],
        ),
        migrations.CreateModel(
            name='Prober',
            fields=[
                ('id', models.SmallAutoField(primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=150, unique=True)),
            ],
        ),
        migrations.CreateModel(
            name='Rebuild',
            fields=[
                ('monitor', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='monitors.monitor')),
                ('pk', models.CompositePrimaryKey('what', 'monitor', 'at', blank=True, editable=False, primary_key=True, serialize=False)),
                ('what', models.CharField(choices=[('periods', 'Periods'), ('hour', 'Hour'), ('day', 'Day')], max_length=7)),
                ('at', monitors.instants.InstantField()),
            ],
        ),
        migrations.AddField(
            model_name='monitor',
            name='confirmations',
            field=models.PositiveSmallIntegerField(default=1, help_text='Checks in a row that have to agree before another status is shown, 1 to 10. Alert rules count every check.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(10)]),
        ),
        migrations.AddField(
            model_name='monitor',
            name='cron',
            field=models.CharField(blank=True, help_text='Instead of an interval: minute, hour, day, month and weekday, such as 0 6 * * 1-5.', max_length=100),
        ),
        migrations.AddField(
            model_name='monitor',
            name='degraded_counts',
            field=models.CharField(choices=[('up', 'As up'), ('half', 'Half'), ('down', 'As down')], default='up', help_text='How degraded and partly failing time enters the uptime.', max_length=4),
        ),
        migrations.AddField(
            model_name='monitor',
            name='parents',
            field=models.ManyToManyField(blank=True, help_text='While one of them is down, failures here are marked as its consequences.', related_name='children', to='monitors.monitor'),
        ),
        migrations.AddField(
            model_name='monitor',
            name='retry_interval',
            field=models.PositiveIntegerField(default=20, help_text='Seconds to the next check while a change is not confirmed.', validators=[django.core.validators.MinValueValidator(5), django.core.validators.MaxValueValidator(86400)]),
        ),
        migrations.AddField(
            model_name='monitor',
            name='time_zone',
            field=models.CharField(default='UTC', help_text='In which the cron expression is read, such as Europe/Berlin.', max_length=64),
        ),
        migrations.AddField(
            model_name='monitorstate',
            name='evaluated_at',
            field=monitors.instants.InstantField(default=django.utils.timezone.now),
        ),
        migrations.AddField(
            model_name='monitorstate',
            name='failing_since',
            field=monitors.instants.InstantField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='monitorstate',
            name='raw_status',
            field=models.CharField(choices=[('up', 'Up'), ('degraded', 'Degraded'), ('partial', 'Partial outage'), ('down', 'Down'), ('maintenance', 'Maintenance'), ('no_data', 'No data')], default='no_data', max_length=12),
        ),
        migrations.AddField(
            model_name='monitorstate',
            name='revision',
            field=models.PositiveIntegerField(default=monitors.models.state.new_revision),
        ),
        migrations.AddField(
            model_name='monitorstate',
            name='unconfirmed',
            field=models.CharField(blank=True, max_length=12),
        ),
        migrations.AddField(
            model_name='monitorstate',
            name='unconfirmed_count',
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='monitorstate',
            name='unconfirmed_since',
            field=monitors.instants.InstantField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='statusperiod',
            name='before_degraded',
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='statusperiod',
            name='before_down',
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='statusperiod',
            name='before_maintenance',
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='statusperiod',
            name='before_no_data',
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='statusperiod',
            name='before_partial',
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='statusperiod',
            name='before_up',
            field=models.BigIntegerField(default=0),
        ),
        ToInstant(
            model_name='monitor',
            name='counts_from',
            field=monitors.instants.InstantField(default=django.utils.timezone.now, editable=False),
        ),
        ToInstant(
            model_name='monitorstate',
            name='checked_at',
            field=monitors.instants.InstantField(blank=True, null=True),
        ),
        ToInstant(
            model_name='monitorstate',
            name='due_at',
            field=monitors.instants.InstantField(blank=True, null=True),
        ),
        ToInstant(
            model_name='monitorstate',
            name='fresh_until',
            field=monitors.instants.InstantField(blank=True, null=True),
        ),
        ToInstant(
            model_name='monitorstate',
            name='lease_until',
            field=monitors.instants.InstantField(blank=True, null=True),
        ),
        ToInstant(
            model_name='monitorstate',
            name='since',
            field=monitors.instants.InstantField(default=django.utils.timezone.now),
        ),
        ToInstant(
            model_name='statusperiod',
            name='ended_at',
            field=monitors.instants.InstantField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name='statusperiod',
            name='monitor',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='periods', to='monitors.monitor'),
        ),
        ToInstant(
            model_name='statusperiod',
            name='started_at',
            field=monitors.instants.InstantField(),
        ),
        migrations.AddField(
            model_name='correction',
            name='monitor',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='corrections', to='monitors.monitor'),
        ),
        migrations.AddField(
            model_name='failureepisode',
            name='monitor',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='episodes', to='monitors.monitor'),
        ),
        migrations.AddIndex(
            model_name='correction',
            index=models.Index(fields=['monitor', 'ended_at'], name='corrections_in_order'),
        ),
        migrations.AddConstraint(
            model_name='correction',
            constraint=models.CheckConstraint(condition=models.Q(('ended_at__gt', models.F('started_at'))), name='correction_ends_after_it_begins', violation_error_message='The end has to be after the beginning.'),
        ),
        migrations.AddConstraint(
            model_name='failureepisode',
            constraint=models.UniqueConstraint(fields=('monitor', 'began_at'), name='one_episode_a_moment'),
        ),
        migrations.CreateModel(
            name='CheckResult',
            fields=[
                ('pk', models.CompositePrimaryKey('monitor', 'checked_at', blank=True, editable=False, primary_key=True, serialize=False)),
                ('monitor', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='results', to='monitors.monitor')),
                ('checked_at', monitors.instants.InstantField()),
                ('latency_ms', monitors.models.result.LatencyField(blank=True, null=True)),
                ('position', models.PositiveIntegerField(default=0)),
                ('checked_by', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='monitors.prober')),
                ('status', monitors.models.status.StatusCodeField()),
                ('is_consequence', models.BooleanField(default=False)),
                ('packed_phases', models.BinaryField(blank=True, null=True)),
                ('error', models.CharField(blank=True, max_length=500)),
            ],
            options={
                'ordering': ['-checked_at'],
            },
        ),
    ]
