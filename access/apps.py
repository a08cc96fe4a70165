from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "access"

    def ready(self) -> None:
        from . import encryption, schema  # noqa: F401  register a check, a scheme
