from django.apps import AppConfig

from monitors.signals import (
    monitor_labelled,
    monitor_paused,
    monitor_retired,
    results_recorded,
)


class AlertingConfig(AppConfig):
    name = "alerting"

    def ready(self) -> None:
        from access import forms
        from outbox import rendering, templating

        from . import notices, previews, receivers, vitals

        results_recorded.connect(receivers.evaluate)
        monitor_paused.connect(receivers.resolve_paused)
        monitor_retired.connect(receivers.resolve_retired)
        monitor_labelled.connect(receivers.leave_unlabelled)
        rendering.register("alert", notices.render, notices.load)
        rendering.register_test(notices.tests)
        templating.teach(notices.VARIABLES, notices.samples())
        forms.name_variables(notices.VARIABLES)
        previews.register()
        vitals.register()
