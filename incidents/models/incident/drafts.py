"""Who knows of an incident: operators, some of them, or everybody."""

from collections.abc import Iterable
from datetime import datetime

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from alerting.models import Alert
from incidents.models.automation import Automation
from incidents.models.timeline import Author, TimelineEntry, name_of
from incidents.signals import (
    incident_published,
)
from monitors.models import Overlay

from .telling import Telling

Kind = TimelineEntry.Kind


class Drafted(Telling):
    """A draft is published or discarded, once; or it is for some groups alone."""

    class Meta:
        abstract = True

    @transaction.atomic
    def publish(
        self, *, at: datetime, author: Author = None, only_due: bool = False
    ) -> bool:
        """Make the draft public, once; with `only_due`, if nothing held it up.

        People are told of its first update or, if it is over already, of its end.
        """
        which = type(self).objects.due(at) if only_due else type(self).objects.drafts()
        if not which.filter(pk=self.pk).update(
            published_at=at,
            publish_at=None,
            decided_by=name_of(author),
            version=F("version") + 1,
        ):
            return False
        self.refresh_from_db()
        self.expect_news(Automation.current().patience, at)
        self.save(update_fields=["nag_at"])
        self._log(Kind.PUBLISHED, "Became public", at=at, author=author)
        impacts = self.impacts.select_related("monitor")
        Overlay.objects.bulk_create(self._overlay(impact) for impact in impacts)
        for link in self.alert_links.select_related("alert"):
            self._link(link.alert)
        in_order = self.updates.order_by("at", "pk")
        self._tell(
            incident_published, in_order.first() if self.is_open else in_order.last()
        )
        return True

    @transaction.atomic
    def discard(self, *, at: datetime, reason: str = "", author: Author = None) -> bool:
        """Never publish the draft; it is kept for the record."""
        if (
            not type(self)
            .objects.drafts()
            .filter(pk=self.pk)
            .update(
                discarded_at=at,
                discard_reason=reason[:200],
                publish_at=None,
                decided_by=name_of(author),
                version=F("version") + 1,
            )
        ):
            return False
        self.refresh_from_db()
        said = f"Discarded: {reason}" if reason else "Discarded"
        self._log(Kind.DISCARDED, said, at=at, author=author, reason=reason)
        self._end_impacts(at)
        return True

    @transaction.atomic
    def restrict(
        self, groups: Iterable[Group], *, at: datetime, author: Author = None
    ) -> bool:
        """Let these groups alone know of it; without any it is a draft, and held.

        False if it is public or withdrawn: what people know cannot be hidden.
        """
        self._lock()
        if self.published_at or self.is_withdrawn:
            return False
        chosen = [*groups]
        self.is_private, self.is_held, self.publish_at = bool(chosen), True, None
        self.expect_news(Automation.current().patience, at)
        self.version += 1
        self.save(
            update_fields=["is_private", "is_held", "publish_at", "nag_at", "version"]
        )
        self._admit(chosen, at, author)
        return True

    def _admit(self, groups: list[Group], at: datetime, author: Author) -> None:
        self.groups.set(groups)
        names = sorted(group.name for group in groups)
        said = f"Private: seen by {', '.join(names)}" if names else "No longer private"
        self._log(Kind.PRIVACY, said, at=at, author=author, groups=names)

    @transaction.atomic
    def hold(self, *, at: datetime | None = None, author: Author = None) -> bool:
        """Stop the countdown: the draft waits for a person."""
        held = type(self).objects.drafts().filter(pk=self.pk, is_held=False)
        changed = held.update(is_held=True, publish_at=None, version=F("version") + 1)
        self.refresh_from_db()
        if changed:
            at = at or timezone.now()
            self._log(Kind.HELD, "Stopped the countdown", at=at, author=author)
        return bool(changed)

    def _link(self, alert: Alert) -> None:
        """Tell the alert where operators or, once it is public, people read on."""
        path = self.path if self.published_at else self.admin_path
        alert.link(number=self.pk, path=path)
