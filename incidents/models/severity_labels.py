from django.db import models

from access.models import OneRow


class SeverityLabels(OneRow):
    """What the severities are called; programs know them as minor, major, critical."""

    minor = models.CharField(max_length=30, default="Minor")
    major = models.CharField(max_length=30, default="Major")
    critical = models.CharField(max_length=30, default="Critical")

    class Meta:
        verbose_name = "names of severities"
        verbose_name_plural = "names of severities"

    def __str__(self) -> str:
        return "Names of severities"
