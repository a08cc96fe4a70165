import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import Prefetch
from django.utils import timezone
from rest_framework.renderers import JSONRenderer
from rest_framework.serializers import BaseSerializer

import tocsin
from incidents.api import IncidentFilters, why_discarded
from incidents.models import Author, Impact, Incident, IncidentQuerySet
from incidents.serializers import (
    IncidentSerializer,
    NewIncidentSerializer,
    UpdateSerializer,
)

# Who writes, if nobody says who it is.
AT_THE_MACHINE = "manage.py"


class Command(BaseCommand):
    help = (
        "Open, update, resolve and list incidents on this machine; tocsin.py does "
        "the same from anywhere."
    )
    # When something is down, nothing should keep this from running.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        actions = tocsin.add_actions(parser)
        for name in ("open", "update", "resolve"):
            actions[name].add_argument(
                "--as",
                dest="author",
                metavar="USERNAME",
                type=tocsin.text,
                help=f"who writes it; {AT_THE_MACHINE} unless given",
            )

    def handle(self, *args: Any, **options: Any) -> None:
        # Django would make it red, which tocsin.py does not.
        self.stderr.style_func = None
        screen = tocsin.Screen(self.stdout, self.stderr, plain=options["no_color"])
        chosen = Namespace(**options)
        ended = tocsin.attempt(lambda: perform(chosen, screen), screen)
        if ended != tocsin.OK:
            sys.exit(ended)


def perform(chosen: Namespace, screen: tocsin.Screen) -> None:
    """Do what was chosen; what the database refuses ends as over the API."""
    try:
        author = named(getattr(chosen, "author", None))
        tocsin.perform(Database(author), chosen, screen)
    except IntegrityError:
        raise tocsin.Failed(
            tocsin.CONFLICT, "Another request was faster; look again."
        ) from None
    except DatabaseError as error:
        why = f"The database cannot be used: {error}"
        raise tocsin.Failed(tocsin.NOT_REACHABLE, why) from None


class Database:
    """Where incidents are kept, judged by the words of the API.

    What is written here is by a person at the machine, not by a program: its
    source is the dashboard.
    """

    def __init__(self, author: User | None) -> None:
        self.author: Author = author or AT_THE_MACHINE

    def find(self, number: int) -> tocsin.Row:
        found = shown_rows().filter(pk=number).first()
        if found is None:
            raise tocsin.no_incident(number)
        return plain(IncidentSerializer(found))

    def open(self, fields: tocsin.Row) -> tocsin.Row:
        accepted = judged(NewIncidentSerializer(data=fields))
        incident = Incident.open(
            impacts=accepted.pop("monitors", None),
            source=Incident.Source.DASHBOARD,
            author=self.author,
            at=timezone.now(),
            **accepted,
        )
        return self.find(incident.pk)

    @transaction.atomic
    def tell(self, incident: tocsin.Row, state: str, body: str) -> tocsin.Row:
        """Write an update; nobody changes the state between reading and keeping it."""
        current = Incident.objects.current().select_for_update(no_key=True)
        row = current.filter(pk=incident["id"]).first()
        if row is None:
            raise tocsin.no_incident(incident["id"])
        if row.discarded_at:
            raise tocsin.Failed(tocsin.CONFLICT, why_discarded(row))
        told = {"state": state or row.state, "body": body}
        accepted = judged(UpdateSerializer(data=told))
        written = row.update(**accepted, at=timezone.now(), author=self.author)
        return plain(UpdateSerializer(written))

    def listed(self, filters: Mapping[str, str], limit: int) -> list[tocsin.Row]:
        rows = shown_rows().order_by("-started_at", "-pk")
        found = IncidentFilters(data=dict(filters), queryset=rows).qs[:limit]
        return plain(IncidentSerializer(found, many=True))


def shown_rows() -> IncidentQuerySet:
    """The incidents with all that is shown of them."""
    impacts = Prefetch("impacts", Impact.objects.select_related("monitor"))
    return Incident.objects.current().prefetch_related(impacts, "updates")


def named(username: str | None) -> User | None:
    """Return the user who is to stand below what is written."""
    if username is None:
        return None
    if found := User.objects.filter(is_active=True, username=username).first():
        return found
    raise tocsin.Failed(tocsin.NOT_FOUND, f"There is no user {username}.")


def judged(given: BaseSerializer) -> dict[str, Any]:
    """Return what the API would accept, or say what it would say."""
    if given.is_valid():
        return dict(given.validated_data)
    raise tocsin.Failed(tocsin.REFUSED, *tocsin.sentences(given.errors))


def plain(shown: BaseSerializer) -> Any:
    """Return what the API would answer."""
    return json.loads(JSONRenderer().render(shown.data))
