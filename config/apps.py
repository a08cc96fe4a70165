from django.apps import AppConfig
from django.contrib.admin import apps as admin
from django.utils import timezone


class ConfigConfig(AppConfig):
    """Holds the commands; has no models."""

    name = "config"
    default = True

    def ready(self) -> None:
        from monitors import gauges
        from outbox.models import Message

        from . import checks  # noqa: F401  registers them

        # The outbox is beside the monitors and does not know their gauges.
        gauges.register(
            "oldest_unsent_message_seconds",
            "Oldest unsent message",
            "s",
            lambda: Message.objects.longest_wait(timezone.now()),
        )


class TocsinAdminConfig(admin.AdminConfig):
    default = False
    default_site = "config.admin.TocsinAdminSite"
