from django.apps import AppConfig

from monitors.signals import monitor_paused, monitor_retired, results_recorded


class AlertingConfig(AppConfig):
    name = "alerting"

    def ready(self) -> None:
        from outbox import rendering

        from . import notices, receivers, vitals

        results_recorded.connect(receivers.evaluate)
        monitor_paused.connect(receivers.resolve_paused)
        monitor_retired.connect(receivers.resolve_retired)
        rendering.register("alert", notices.render)
        vitals.register()
