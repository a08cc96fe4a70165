"""What was done to an incident, when and by whom; rows that only ever are added."""

from datetime import UTC, datetime
from typing import Any, NoReturn

from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone

# Who acts: a person, a program by the name of its key, or Tocsin itself.
Author = User | str | None
TOCSIN = "Tocsin"


def person(author: Author) -> User | None:
    return author if isinstance(author, User) else None


def name_of(author: Author) -> str:
    """The name of a person or a program; nothing if it is Tocsin itself."""
    return author.get_username() if isinstance(author, User) else author or ""


def in_utc(at: datetime) -> str:
    """A moment as the timeline words it, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


class TimelineQuerySet(models.QuerySet["TimelineEntry"]):
    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError("The timeline is only ever added to.")

    def delete(self) -> NoReturn:
        raise TypeError("The timeline is only ever added to.")


class TimelineEntry(models.Model):
    """One thing that happened to an incident. It goes only with the incident."""

    class Kind(models.TextChoices):
        OPENED = "OPENED", "Opened"
        ALERT = "ALERT", "Alert"
        UPDATE = "UPDATE", "Update"
        NOTE = "NOTE", "Internal note"
        SCHEDULED = "SCHEDULED", "Scheduled"
        EDITED = "EDITED", "Edited"
        WITHDRAWN = "WITHDRAWN", "Taken back"
        STATE = "STATE", "State"
        TITLE = "TITLE", "Title"
        SEVERITY = "SEVERITY", "Severity"
        BEGAN = "BEGAN", "Beginning"
        IMPACT = "IMPACT", "Impact"
        PROMISE = "PROMISE", "Promise"
        OWNER = "OWNER", "Owner"
        LABELS = "LABELS", "Labels"
        RELATED = "RELATED", "Relation"
        MERGED = "MERGED", "Merged"
        SPLIT = "SPLIT", "Split"
        PRIVACY = "PRIVACY", "Who sees it"
        NAGGED = "NAGGED", "Asked for news"
        PUBLISHED = "PUBLISHED", "Published"
        HELD = "HELD", "Held"
        DISCARDED = "DISCARDED", "Discarded"
        DELETED = "DELETED", "Deleted"

    incident = models.ForeignKey("Incident", models.CASCADE, related_name="timeline")
    happened_at = models.DateTimeField()
    recorded_at = models.DateTimeField(default=timezone.now, editable=False)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    actor = models.CharField(max_length=150, default=TOCSIN)
    text = models.CharField(max_length=500)
    # Names and values as they were then, for programs.
    facts = models.JSONField(default=dict)

    objects = TimelineQuerySet.as_manager()

    class Meta:
        ordering = ["-happened_at", "-pk"]
        verbose_name_plural = "timeline entries"
        indexes = [
            models.Index(
                fields=["incident", "-happened_at"], name="timeline_newest_first"
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.text}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("The timeline is only ever added to.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("The timeline is only ever added to.")
