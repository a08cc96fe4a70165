from django.apps import AppConfig

from incidents.signals import (
    incident_published,
    incident_reopened,
    incident_resolved,
    incident_updated,
)


class SubscriptionsConfig(AppConfig):
    name = "subscriptions"

    def ready(self) -> None:
        from outbox import rendering

        from . import emails, receivers

        incident_published.connect(receivers.notify_published)
        incident_updated.connect(receivers.notify_updated)
        incident_resolved.connect(receivers.notify_resolved)
        incident_reopened.connect(receivers.notify_reopened)
        rendering.register("confirmation", emails.confirmation)
        rendering.register("incident", emails.incident)
