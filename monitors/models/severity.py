from django.db import models


class IncidentSeverity(models.IntegerChoices):
    """How bad an incident is; as numbers, so that they can be compared."""

    MINOR = 1, "Minor"
    MAJOR = 2, "Major"
    CRITICAL = 3, "Critical"
