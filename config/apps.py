from django.apps import AppConfig
from django.contrib.admin import apps as admin


class ConfigConfig(AppConfig):
    """Holds the commands; has no models."""

    name = "config"
    default = True

    def ready(self) -> None:
        from . import checks  # noqa: F401  registers them


class TocsinAdminConfig(admin.AdminConfig):
    default = False
    default_site = "config.admin.TocsinAdminSite"
