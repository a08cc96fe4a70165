import zoneinfo
from datetime import datetime, timedelta
from typing import Any, ClassVar

from celery import current_app
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q, UniqueConstraint
from django.utils import timezone

from monitors.models import Monitor


def zone_choices() -> list[tuple[str, str]]:
    return [(name, name) for name in sorted(zoneinfo.available_timezones())]


class StatusPage(models.Model):
    """A public page: what it is called, what it shows, in which zone it lives."""

    title = models.CharField(max_length=100, default="Status")
    slug = models.SlugField(unique=True, default="status")
    description = models.CharField(
        max_length=300, blank=True, help_text="A sentence under the headline."
    )
    timezone = models.CharField(
        max_length=60,
        default="UTC",
        help_text="Times and days are shown in this zone, such as Europe/Berlin.",
    )
    is_default = models.BooleanField(default=False, help_text="Shown at the root.")
    shows_all = models.BooleanField(
        "show every monitor",
        default=True,
        help_text="Otherwise only those listed in sections.",
    )

    class Meta:
        ordering = ["title", "pk"]
        constraints = [
            UniqueConstraint(
                fields=["is_default"],
                condition=Q(is_default=True),
                name="one_default_page",
                violation_error_message="Another page is the default one already.",
            )
        ]

    def __str__(self) -> str:
        return self.title

    def clean(self) -> None:
        others = StatusPage.objects.exclude(pk=self.pk)
        if not self.is_default and not others.filter(is_default=True).exists():
            raise ValidationError(
                {"is_default": "Some page has to be shown at the root; tick this one."}
            )
        if self.timezone not in zoneinfo.available_timezones():
            raise ValidationError(
                {"timezone": "Give a zone by its name, such as Europe/Berlin."}
            )

    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        Snapshot.mark_dirty(pages=[self.pk])

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.timezone)

    @classmethod
    def default(cls) -> "StatusPage":
        """Return the page at the root, made if there is none yet."""
        found = cls.objects.order_by("-is_default", "pk").first()
        if found is None:
            found, _ = cls.objects.get_or_create(
                is_default=True, defaults={"title": "Status", "slug": "status"}
            )
        return found

    def rows(self) -> list[tuple[str, list[Monitor]]]:
        """Return the sections, each with its current monitors, in two queries.

        What is in no section comes last, under no name, if every monitor shows.
        """
        current = {m.pk: m for m in Monitor.objects.current().select_related("state")}
        sections: dict[str, list[Monitor]] = {}
        for shown in self.shown.all():
            monitor = current.pop(shown.monitor_id, None)
            if monitor:
                monitor.name = shown.label or monitor.name
                sections.setdefault(shown.section, []).append(monitor)
        if self.shows_all and current:
            sections.setdefault("", []).extend(current.values())
        return list(sections.items())


class ShownMonitor(models.Model):
    """A monitor's place on a page."""

    page = models.ForeignKey(StatusPage, models.CASCADE, related_name="shown")
    monitor = models.ForeignKey(Monitor, models.CASCADE, related_name="shown_on")
    section = models.CharField(max_length=100, blank=True)
    label = models.CharField(
        max_length=150, blank=True, help_text="Its name on this page, if another."
    )
    position = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["position", "pk"]
        constraints = [
            UniqueConstraint(
                fields=["page", "monitor"], name="one_place_per_page_and_monitor"
            )
        ]

    def __str__(self) -> str:
        return self.label or str(self.monitor)


class Snapshot(models.Model):
    """A page as served: bytes that are the same for every visitor."""

    FRESH_FOR: ClassVar = timedelta(seconds=30)

    page = models.OneToOneField(
        StatusPage, models.CASCADE, primary_key=True, related_name="snapshot"
    )
    body = models.BinaryField(default=b"")
    etag = models.CharField(max_length=40, blank=True)
    built_at = models.DateTimeField(null=True)
    dirty_at = models.DateTimeField(null=True, default=timezone.now)

    def __str__(self) -> str:
        return f"{self.page} of {self.built_at}"

    @classmethod
    def mark_dirty(cls, pages: list[int] | None = None) -> None:
        """Have pages (or all) built anew soon. One row a page, nothing else."""
        snapshots = cls.objects.all()
        if pages is not None:
            snapshots = snapshots.filter(pk__in=pages)
        snapshots.update(dirty_at=timezone.now())
        current_app.ring("statuspages.tasks.build_pages")

    @classmethod
    def due(cls, at: datetime) -> "models.QuerySet[Snapshot]":
        """Those marked since they were built, and those whose times grow old."""
        old = Q(built_at=None) | Q(built_at__lte=at - cls.FRESH_FOR)
        return cls.objects.filter(old | ~Q(dirty_at=None))
