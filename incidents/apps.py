from django.apps import AppConfig

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
        severity_labels.keep_fresh()
        telling.register()
