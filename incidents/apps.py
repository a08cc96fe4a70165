from celery.signals import task_prerun
from django.apps import AppConfig
from django.core.signals import request_started

from alerting.signals import alert_resolved, alert_triggered, alerts_still_failing


class IncidentsConfig(AppConfig):
    name = "incidents"

    def ready(self) -> None:
        from monitors.models.severity import name_severities

        from . import receivers, telling
        from .models import severity_labels

        alert_triggered.connect(receivers.open_incident)
        alert_resolved.connect(receivers.close_incident)
        alerts_still_failing.connect(receivers.reopen_incidents)
        name_severities(severity_labels.names)
        request_started.connect(severity_labels.forget)
        task_prerun.connect(severity_labels.forget)
        telling.register()
