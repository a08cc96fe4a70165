"""Which incidents there are, as everybody asks for them."""

import re
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, models, transaction
from django.db.models import OuterRef, Q, Subquery
from django.utils.text import smart_split, unescape_string_literal

from incidents.models.search_text import says
from incidents.models.state import State
from incidents.models.story import Impact, IncidentUpdate
from incidents.patience import Patience
from monitors.models import Monitor

if TYPE_CHECKING:
    from .model import Incident  # noqa: F401  the rows of the set below

# Of those that are looked for; each costs a look at everything that was ever said.
MOST_WORDS = 8

# What is going on, whether the public knows of it or not.
GOES_ON = Q(ended_at=None, deleted_at=None, discarded_at=None)

# Drafts: what the public may come to know of.
WAITS = Q(published_at=None, discarded_at=None, is_private=False)


class IncidentQuerySet(models.QuerySet["Incident"]):
    def current(self) -> "IncidentQuerySet":
        """Leave out those deleted."""
        return self.filter(deleted_at=None)

    def published(self) -> "IncidentQuerySet":
        """What the public may see."""
        return self.current().exclude(published_at=None).filter(merged_into=None)

    def drafts(self) -> "IncidentQuerySet":
        """What waits to be published or discarded."""
        return self.current().filter(WAITS)

    def visible_to(self, user: User | AnonymousUser) -> "IncidentQuerySet":
        """Leave out the private ones whose groups somebody is in none of."""
        if user.is_superuser and user.is_active:
            return self
        if not user.is_active:
            return self.filter(is_private=False)
        mine = self.model.groups.through.objects.filter(group__user=user.pk)
        return self.filter(Q(is_private=False) | Q(pk__in=mine.values("incident")))

    def saying(self, words: str, *, internal: bool = False) -> "IncidentQuerySet":
        """What has each of the words in its title, the updates or a monitor's name.

        Words in quotes are one; notes are looked at if they are asked for.
        """
        found = self
        for word in map(_unquoted, islice(smart_split(words), MOST_WORDS)):
            named = Monitor.objects.filter(_is_named(word)).order_by()
            touched = Impact.objects.filter(monitor__in=named.values("pk")).order_by()
            affects = Q(pk__in=touched.values("incident"))
            found = found.filter(says(word, internal=internal) | affects)
        return found

    def due(self, at: datetime) -> "IncidentQuerySet":
        """The drafts that publish themselves by now, unless they are over."""
        return self.drafts().filter(publish_at__lte=at, ended_at=None)

    def open(self) -> "IncidentQuerySet":
        return self.current().filter(discarded_at=None).exclude(state=State.RESOLVED)

    def resolved(self) -> "IncidentQuerySet":
        return self.current().filter(state=State.RESOLVED)

    def automatic(self) -> "IncidentQuerySet":
        return self.filter(source=self.model.Source.ALERT)

    @transaction.atomic
    def expect_news(self, patience: Patience) -> None:
        """Write down anew when each that goes on is asked about, all at once."""
        told = IncidentUpdate.objects.filter(incident=OuterRef("pk"))
        newest = Subquery(told.order_by("-at").values("at")[:1])
        locked = self.filter(GOES_ON).select_for_update(of=("self",), no_key=True)
        found: list[Any] = list(locked.order_by("pk").annotate(told_at=newest))
        for incident in found:
            incident.expect_news(patience, incident.told_at)
        self.bulk_update(found, ["nag_at"], batch_size=500)


def _is_named(word: str) -> Q:
    """Whether a name has a word; SQLite's own LIKE knows only A to Z in both cases."""
    if connection.vendor == "sqlite":
        return Q(name__iregex=re.escape(word))
    return Q(name__icontains=word)


def _unquoted(bit: str) -> str:
    is_quoted = len(bit) > 1 and bit[0] == bit[-1] and bit[0] in "'\""
    return unescape_string_literal(bit) if is_quoted else bit
