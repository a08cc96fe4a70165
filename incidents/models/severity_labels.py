import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from celery.signals import task_prerun
from django.core.exceptions import ValidationError
from django.core.signals import request_started
from django.db import models, transaction

from access.models import OneRow
from incidents.signals import severities_renamed
from monitors.models import IncidentSeverity

_memo = threading.local()
# Threads that know neither requests nor tasks look again after so many seconds.
_KEPT_SECONDS: Final = 30


class SeverityLabels(OneRow):
    """What the severities are called; programs know them as minor, major, critical."""

    minor = models.CharField(max_length=30, default="Minor")
    major = models.CharField(max_length=30, default="Major")
    critical = models.CharField(max_length=30, default="Critical")

    # The field that names each severity.
    FIELDS: Final = {one.value: one.name.lower() for one in IncidentSeverity}

    class Meta:
        verbose_name = "names of severities"
        verbose_name_plural = "names of severities"

    def __str__(self) -> str:
        return "Names of severities"

    def clean(self) -> None:
        errors: dict[str, str] = {}
        taken: dict[str, str] = {}
        for field in self.FIELDS.values():
            label = " ".join(getattr(self, field).split())
            if getattr(self, field) and not _is_seen(label):
                errors[field] = "Write a name that can be seen."
            elif label and label.casefold() in taken:
                other = taken[label.casefold()]
                errors[field] = f"This is what {other} is called already."
            taken.setdefault(label.casefold(), field)
            setattr(self, field, label)
        if errors:
            raise ValidationError(errors)

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        forget()
        severities_renamed.send(sender=SeverityLabels, labels=self)

    def by_severity(self) -> dict[int, str]:
        return {severity: getattr(self, name) for severity, name in self.FIELDS.items()}


def names() -> Mapping[int, str]:
    """What the severities are called, looked up once in a request or task."""
    if time.monotonic() >= getattr(_memo, "until", 0):
        remember(SeverityLabels.current().by_severity())
    found: Mapping[int, str] = _memo.names
    return found


def remember(found: Mapping[int, str]) -> None:
    """Take what was looked up with something else; the usual names if it is nothing."""
    _memo.names = found or SeverityLabels().by_severity()
    _memo.until = time.monotonic() + _KEPT_SECONDS


def forget(**kwargs: Any) -> None:
    """Look the names up anew: a request or a task begins, or they were changed."""
    _memo.until = 0


def keep_fresh() -> None:
    """Forget them whenever a request or a task begins; called in ready()."""
    request_started.connect(forget)
    task_prerun.connect(forget)


def _is_seen(label: str) -> bool:
    return any(c.isprintable() and not c.isspace() for c in label)
