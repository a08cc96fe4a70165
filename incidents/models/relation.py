from typing import TYPE_CHECKING

from django.db import models
from django.db.models import F, Q, UniqueConstraint
from django.utils import timezone

if TYPE_CHECKING:
    from .incident import Incident


class RelationQuerySet(models.QuerySet["Relation"]):
    def of(
        self, incident: "Incident", among: "models.QuerySet[Incident]"
    ) -> "RelationQuerySet":
        """Those with one among some others, whichever of the two it was noted with."""
        some = among.order_by().values("pk")
        return self.filter(
            Q(incident=incident, other__in=some) | Q(other=incident, incident__in=some)
        )


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

    objects = RelationQuerySet.as_manager()

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

    def is_noted_with(self, incident: "Incident") -> bool:
        """Whether it says of this one what it is to the other; else it is the other."""
        return self.incident_id == incident.pk
