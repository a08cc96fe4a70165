from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from access.models import OneRow
from alerting.flapping import Limits


class FlapDetection(OneRow):
    """When a monitor that turns to and fro is taken for flapping."""

    is_on = models.BooleanField("on", default=True)
    start_percent = models.PositiveSmallIntegerField(
        "begins at",
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="Percent of change over the last 21 results, newer ones counting "
        "more.",
    )
    stop_percent = models.PositiveSmallIntegerField(
        "ends at",
        default=20,
        validators=[MinValueValidator(0), MaxValueValidator(99)],
        help_text="Percent.",
    )
    escape_minutes = models.PositiveSmallIntegerField(
        "tell anyhow after",
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(1440)],
        help_text="Minutes of failing without a break, however it was before.",
    )

    class Meta:
        verbose_name_plural = "flap detection"

    def __str__(self) -> str:
        return "Flap detection"

    def clean(self) -> None:
        if self.stop_percent >= self.start_percent:
            raise ValidationError(
                {"stop_percent": "It has to end below where it begins."}
            )

    @property
    def limits(self) -> Limits:
        return Limits(self.start_percent, self.stop_percent, self.is_on)
