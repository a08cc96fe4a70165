import zoneinfo
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar

from celery import current_app
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q, UniqueConstraint
from django.utils import timezone

from incidents.models import Author, Incident, TimelineEntry
from monitors import zones
from monitors.models import Monitor


def zone_choices() -> list[tuple[str, str]]:
    return zones.choices()


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
        if self.timezone not in zones.names():
            raise ValidationError(
                {"timezone": "Give a zone by its name, such as Europe/Berlin."}
            )

    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        Snapshot.mark_dirty(pages=[self.pk])

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        return zones.find(self.timezone)

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
    # Its headline, for those who need no more of it.
    look = models.CharField(max_length=20, blank=True)
    headline = models.CharField(max_length=500, blank=True)
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


class PageIncident(models.Model):
    """That an incident shows on a page, and on no other that is not chosen too.

    An incident without such a row is global: it shows on every page it concerns.
    """

    # Of a page that is gone the row stays, without it: what was meant for that
    # page alone must not show everywhere from then on.
    page = models.ForeignKey(
        StatusPage, models.SET_NULL, null=True, related_name="chosen_for"
    )
    incident = models.ForeignKey(Incident, models.CASCADE, related_name="chosen_pages")

    class Meta:
        ordering = ["pk"]
        constraints = [
            UniqueConstraint(
                fields=["page", "incident"], name="one_choice_per_page_and_incident"
            )
        ]

    def __str__(self) -> str:
        return f"{self.incident} on {self.page or 'a page that is gone'}"

    @classmethod
    def of(cls, incident: Incident) -> "list[PageIncident]":
        """Return the choices made for an incident, with their pages; read once."""
        rows = models.Prefetch("chosen_pages", cls.objects.select_related("page"))
        models.prefetch_related_objects([incident], rows)
        return list(incident.chosen_pages.all())

    @classmethod
    @transaction.atomic
    def choose(
        cls,
        incident: Incident,
        pages: Iterable[StatusPage],
        *,
        at: datetime,
        author: Author = None,
    ) -> bool:
        """Show the incident on these pages only or, without any, on all it concerns."""
        Incident.objects.select_for_update(no_key=True).get(pk=incident.pk)
        chosen = {page.pk: page for page in pages}
        rows = cls.objects.filter(incident=incident)
        was = set(rows.values_list("page", flat=True))
        if was == chosen.keys():
            return False
        rows.delete()
        PageIncident.objects.bulk_create(
            PageIncident(page=page, incident=incident) for page in chosen.values()
        )
        _remark(incident, chosen.values(), at, author)
        Snapshot.mark_dirty(pages=_changed(was, {*chosen}))
        return True


def _remark(
    incident: Incident, pages: Iterable[StatusPage], at: datetime, author: Author
) -> None:
    titles = ", ".join(page.title for page in pages)
    said = f"Shown only on: {titles}" if titles else "Shown on all pages it concerns"
    slugs = [page.slug for page in pages]
    kind = TimelineEntry.Kind.PRIVACY
    incident.remark(kind, said, at=at, author=author, pages=slugs)


def _changed(was: set[int | None], now: set[int]) -> list[int] | None:
    """Return which pages tell something else now; None is all of them."""
    if not was or not now:
        return None
    return [page for page in was ^ now if page is not None]
