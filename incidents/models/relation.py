from django.db import models
from django.db.models import F, Q, UniqueConstraint
from django.utils import timezone


class Relation(models.Model):
    """What one incident has to do with another; both show it."""

    class Kind(models.TextChoices):
        DUPLICATE = "DUPLICATE", "Duplicate of"
        RELATED = "RELATED", "Related to"

    incident = models.ForeignKey("Incident", models.CASCADE, related_name="relations")
    other = models.ForeignKey("Incident", models.CASCADE, related_name="relations_of")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    author = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["pk"]
        constraints = [
            UniqueConstraint(
                fields=["incident", "other"], name="one_relation_of_two_incidents"
            ),
            models.CheckConstraint(
                condition=~Q(incident=F("other")), name="no_relation_to_itself"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.other}"
