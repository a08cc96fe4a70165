from django.apps import AppConfig

from alerting.signals import alert_resolved, alert_triggered, alerts_still_failing


class IncidentsConfig(AppConfig):
    name = "incidents"

    def ready(self) -> None:
        from . import receivers, telling

        alert_triggered.connect(receivers.open_incident)
        alert_resolved.connect(receivers.close_incident)
        alerts_still_failing.connect(receivers.reopen_incidents)
        telling.register()
