from typing import Any, Final

from django.db import models


class MaintenanceSettings(models.Model):
    """What holds for all maintenances; one row."""

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

    # There is one row, and its key is 1.
    THE_ONE: Final = 1

    @classmethod
    def current(cls) -> "MaintenanceSettings":
        """The row, or what it would be."""
        return cls.objects.filter(pk=cls.THE_ONE).first() or cls()

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.pk = self.THE_ONE
        super().save(*args, **kwargs)
