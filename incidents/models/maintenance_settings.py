from django.db import models

from access.models import OneRow


class MaintenanceSettings(OneRow):
    """What holds for all maintenances."""

    sends_reminders = models.BooleanField(
        "Send Maintenance Reminders",
        default=True,
        help_text="Off means that no maintenance reminds anybody.",
    )

    class Meta:
        verbose_name = "maintenance settings"
        verbose_name_plural = "maintenance settings"

    def __str__(self) -> str:
        return "Maintenance settings"
