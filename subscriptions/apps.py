from django.apps import AppConfig

from incidents.signals import (
    incident_published,
    incident_reopened,
    incident_resolved,
    incident_updated,
    maintenance_cancelled,
    maintenance_changed,
    maintenance_completed,
    maintenance_reminded,
    maintenance_scheduled,
    maintenance_started,
)


class SubscriptionsConfig(AppConfig):
    name = "subscriptions"

    def ready(self) -> None:
        from outbox import rendering

        from . import emails, maintenance, receivers

        incident_published.connect(receivers.notify_published)
        incident_updated.connect(receivers.notify_updated)
        incident_resolved.connect(receivers.notify_resolved)
        incident_reopened.connect(receivers.notify_reopened)
        maintenance_scheduled.connect(receivers.notify_scheduled)
        maintenance_reminded.connect(receivers.notify_reminded)
        maintenance_started.connect(receivers.notify_started)
        maintenance_changed.connect(receivers.notify_changed)
        maintenance_completed.connect(receivers.notify_completed)
        maintenance_cancelled.connect(receivers.notify_cancelled)
        rendering.register("confirmation", emails.confirmation)
        rendering.register("incident", emails.incident)
        rendering.register("incidents", emails.incidents)
        rendering.register("maintenance", maintenance.mail)
