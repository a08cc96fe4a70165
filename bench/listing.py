"""Thousands of incidents, and the pages that list them.

To be imported within a stage only.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, Final, NamedTuple

from django.contrib.auth.models import User
from django.db import connection, models
from django.test import Client
from django.utils import timezone

from access.models import ApiKey
from incidents import markdown
from incidents.models import Impact, Incident, IncidentUpdate, SearchText, State
from monitors.models import Label, Monitor
from statuspages import snapshot
from statuspages.models import StatusPage

from . import rows

APART: Final = timedelta(minutes=50)
STORY: Final = (*State.values,)
LEVELS: Final = (*Impact.Level.values,)
SOURCES: Final = (*Incident.Source.values,)
WORDS: Final = (
    *("Orders", "Payments", "Mail", "Search", "Login", "Images", "Exports"),
    *("fail", "are slow", "time out", "are refused", "come late"),
)
# What is said in one of a thousand.
RARE: Final = "heliostat"
PEOPLE: Final = 5
LABELS: Final = 10
AT_ONCE: Final = 2000

Ask = Callable[[], None]


def fill(number: int, monitors: int) -> None:
    """Make incidents one after the other, the newest now; one in a hundred goes on."""
    affected = rows.make_monitors(["http://127.0.0.1/"] * monitors, 60)
    people = [
        User.objects.create_user(f"user{n}", f"user{n}@example.org", is_staff=True)
        for n in range(PEOPLE)
    ]
    labels = Label.objects.bulk_create(Label(name=f"label{n}") for n in range(LABELS))
    now = timezone.now()
    made = Incident.objects.bulk_create(
        (_incident(n, now, people) for n in range(number)), batch_size=AT_ONCE
    )
    _make(IncidentUpdate, (u for n, i in enumerate(made) for u in _updates(n, i)))
    for few in _batches(made):
        SearchText.rewrite({incident.pk: incident.title for incident in few})
    _make(Impact, (p for n, i in enumerate(made) for p in _impacts(n, i, affected)))
    labelled: Any = Incident.labels.through
    _make(
        labelled,
        (
            labelled(incident=i, label=labels[n % LABELS])
            for n, i in enumerate(made)
            if n % 3 == 0
        ),
    )
    StatusPage.default()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _batches(made: list[Incident]) -> Iterator[list[Incident]]:
    for n in range(0, len(made), AT_ONCE):
        yield made[n : n + AT_ONCE]


def _make(model: type[models.Model], made: Iterable[Any]) -> None:
    model._default_manager.bulk_create(made, batch_size=AT_ONCE)


def _incident(n: int, now: datetime, people: list[User]) -> Incident:
    began = now - (n + 1) * APART
    goes_on = n % 100 == 0
    is_draft, is_discarded, is_deleted = (n % 100 == each for each in (7, 8, 9))
    return Incident(
        title=f"{WORDS[n % 7]} {WORDS[7 + n % 5]} {n}",
        state=State.IDENTIFIED if goes_on else State.RESOLVED,
        severity=1 + n % 3,
        source=SOURCES[n % 3],
        badge="Auto: Uptime" if n % 3 == 0 else "",
        started_at=began,
        created_at=began,
        ended_at=None if goes_on else began + timedelta(minutes=40),
        published_at=None if is_draft or is_discarded else began,
        discarded_at=began + timedelta(hours=1) if is_discarded else None,
        deleted_at=began + timedelta(hours=1) if is_deleted else None,
        owner=people[n % PEOPLE] if n % 2 else None,
    )


def _updates(n: int, incident: Incident) -> Iterator[IncidentUpdate]:
    told = STORY if incident.ended_at else STORY[:2]
    for step, state in enumerate(told):
        rare = RARE if n % 1000 == 5 and step == 1 else "disk"
        body = f"We are *looking* at it: the {rare} of rack {n % 97} does not answer."
        yield IncidentUpdate(
            incident=incident,
            state=state,
            body=body,
            html=_html(body),
            at=incident.started_at + step * timedelta(minutes=10),
        )


@cache
def _html(body: str) -> str:
    return markdown.render(body)


def _impacts(n: int, incident: Incident, monitors: list[Monitor]) -> Iterator[Impact]:
    for nth in range(1 + n % 3):
        yield Impact(
            incident=incident,
            monitor=monitors[(n + 7 * nth) % len(monitors)],
            level=LEVELS[n % 3],
            started_at=incident.started_at,
            ended_at=incident.ended_at,
        )


# What is asked


class Asker(NamedTuple):
    """Asks for pages of one kind, as one who may see them all."""

    client: Client
    path: str

    def of(self, *queries: str) -> dict[str, Ask]:
        return {query or "all": partial(self.ask, query) for query in queries}

    def ask(self, query: str) -> None:
        response = self.client.get(f"{self.path}?{query}" if query else self.path)
        assert response.status_code == 200, (self.path, query, response.status_code)


def pages() -> dict[str, dict[str, Ask]]:
    """Every list, by what is asked of it; `frame` is a list of nothing in the admin."""
    # As it mostly is: nothing has happened since the page was built.
    snapshot.build_due()
    operator, key = _operator(), ApiKey(name="bench").issue()
    api = _client(headers={"Authorization": f"Bearer {key}"})
    month = timezone.now() - timedelta(days=40)
    return {
        "frame": Asker(operator, "/admin/incidents/updatetemplate/").of(""),
        "admin": Asker(operator, "/admin/incidents/incident/").of(*_of_admin()),
        "api": Asker(api, "/api/v1/incidents/").of(*_of_api()),
        "public": {
            **Asker(_client(), "/history/").of(""),
            **{"month": partial(Asker(_client(), f"/history/{month:%Y-%m}/").ask, "")},
        },
    }


def _client(**more: Any) -> Client:
    return Client(SERVER_NAME="localhost", **more)


def _operator() -> Client:
    client = _client()
    client.force_login(User.objects.create_superuser("bench", "bench@example.org"))
    return client


def _of_admin() -> list[str]:
    someone = User.objects.get(username="user1").pk
    label = Label.objects.get(name="label3").pk
    first = timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    last = max(2, Incident.objects.filter(deleted_at=None).count() // 31)
    began = f"started_at__gte={first:%Y-%m-%d}%2000%3A00%3A00%2B00%3A00"
    return [
        *("", "p=2", f"p={last}", *(f"o={n}" for n in (1, 2, 3, 5, 6, 7, 8))),
        *("open=yes", "open=no", "deleted=yes", "deleted=all"),
        *("seen=public", "seen=draft", "seen=discarded"),
        *("state__exact=RESOLVED", "severity__exact=3", "source__exact=API"),
        *(f"owner__id__exact={someone}", f"labels__id__exact={label}", began),
        *(f"q={word}" for word in ("orders", "disk", RARE, "M7", "nothing")),
        *("q=disk&open=yes", f"q={RARE}+orders", "q=the+disk+of+rack+7"),
    ]


def _of_api() -> list[str]:
    return [
        *("", "page_size=100", "state=RESOLVED", "state=IDENTIFIED", "source=API"),
        *("open=true", "open=false", "draft=true", "draft=false"),
        *("owner=user1", "label=label3", "monitor=m7", "monitor=nothing"),
        *("search=disk", f"search={RARE}", "search=orders+disk", "search=nothing"),
    ]
