"""What is wrong now: everything the admin's first page says, in some twenty
queries, however much is wrong.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlencode

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import (
    Count,
    Exists,
    Max,
    Min,
    Model,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
)
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access import desk
from alerting.models import Alert, AlertRule, Decision, EvaluationFailure, Transition
from incidents.models import Impact, Incident
from monitors.models import Monitor, MonitorState, Pulse, Status
from outbox.models import Circuit, Message, Trigger

Rows = TypeVar("Rows", bound=QuerySet[Any])

SHOWN: Final = 30
RECENT: Final = timedelta(days=7)
# The clock ticks every second; ten silent seconds are no hiccup any more.
STILL_AFTER: Final = timedelta(seconds=10)
# The outbox is looked through every second.
LATE_AFTER: Final = timedelta(seconds=60)
FAILING: Final = (Status.DOWN, Status.PARTIAL, Status.DEGRADED)
SHOWN_TO_SOME: Final = (Incident, Alert, Monitor, Message, Trigger, Decision)


class Work(NamedTuple):
    """One line of what needs somebody: what, since when, what to do."""

    look: str
    what: SafeString
    why: str | SafeString
    since: datetime | None
    act: str = ""
    where: str = ""
    summary: str = ""


class DeadLetters(NamedTuple):
    """What was given up for one destination, to be dealt with at once."""

    to: str | SafeString
    kind: str
    number: int
    newest: Message
    again: str
    dismiss: str
    all: str


class Fact(NamedTuple):
    name: str
    value: str
    note: str | SafeString = ""
    is_late: bool = False


class Tile(NamedTuple):
    number: int
    words: str
    where: str
    look: str = ""


@dataclass(slots=True)
class FrontPage:
    incidents: list[Work]
    alerts: list[Work]
    unwatched: list[Work]
    failures: list[Work]
    clock: list[Work]
    held: list[Work]
    given_up: list[DeadLetters]
    tiles: list[Tile]
    clockwork: list[Fact]
    deliveries: list[Fact]
    decisions: list[Decision]
    statuses: dict[str, int]
    # Of which models, by name, somebody may see anything.
    sees: dict[str, bool]
    wrong: int = 0
    sentences: list[str] = field(default_factory=list)

    @property
    def headline(self) -> str:
        if not self.wrong:
            seen = "" if self.sees_all else "you may see "
            return f"Nothing {seen}is wrong"
        verb = "is" if self.wrong == 1 else "are"
        return f"{desk.count(self.wrong, 'thing').capitalize()} {verb} wrong"

    @property
    def lede(self) -> str:
        if self.sentences:
            return " ".join(self.sentences)
        if not self.sees["monitor"]:
            return "Nothing waits for you."
        if not self.monitors:
            return "Nothing is watched yet. Add a monitor, then a rule for it."
        return f"{self.up} and nothing waits for you."

    @property
    def sees_all(self) -> bool:
        return all(self.sees.values())

    @property
    def work(self) -> list[Work]:
        return [*self.incidents, *self.alerts, *self.unwatched]

    @property
    def inside(self) -> list[Work]:
        """What is wrong with Tocsin itself."""
        return [*self.clock, *self.failures]

    @property
    def monitors(self) -> int:
        return sum(self.statuses.values())

    @property
    def up(self) -> str:
        return f"{self.statuses.get(Status.UP, 0)} of {self.monitors} monitors up"


def look(at: datetime, user: User | AnonymousUser) -> FrontPage:
    """Read what is wrong at this moment, as far as somebody may see it."""
    sees = {model.__name__.lower(): may_see(user, model) for model in SHOWN_TO_SOME}
    seen = partial(as_seen_by, user)
    incidents = seen(Incident.objects.open().visible_to(user), Incident)
    alerts = seen(Alert.objects.triggered().filter(incident_number=None), Alert)
    unwatched = seen(unwatched_monitors(), Monitor)
    unannounced = Transition.objects.filter(announced_at=None).exclude(error="")
    failing = seen(unannounced, Alert)
    recent = Message.objects.given_up().filter(finished_at__gte=at - RECENT)
    given_up = seen(recent, Message)
    evaluations = seen(EvaluationFailure.objects.select_related("monitor"), Monitor)
    circuits = seen(Circuit.objects.open(), Trigger)
    decisions = seen(Decision.objects.filter(last_at__gte=at - RECENT), Decision)
    clockwork, clock = look_at_clock(at)
    late = late_messages(at) if sees["message"] else []
    numbers = {
        "incidents": incidents.count(),
        "public": incidents.published().count(),
        "drafts": incidents.drafts().count(),
        "alerts": alerts.count(),
        "unwatched": unwatched.count(),
        "evaluations": evaluations.count(),
        "announcements": failing.count(),
        "given_up": given_up.count(),
        "held": circuits.count(),
        "late": len(late),
        "clock": len(clock),
    }
    return FrontPage(
        incidents=open_incidents(incidents, user),
        alerts=alerts_without_incident(alerts),
        unwatched=[unwatched_work(monitor) for monitor in unwatched[:SHOWN]],
        failures=[
            *(evaluation_work(failure) for failure in evaluations[:SHOWN]),
            *(announcement_work(t) for t in failing.select_related("alert")[:SHOWN]),
        ],
        clock=clock,
        held=[*late, *held_work(circuits, at)],
        given_up=dead_letters(given_up),
        tiles=tiles(numbers, sees),
        clockwork=clockwork,
        deliveries=look_at_outbox(at, numbers["given_up"]) if sees["message"] else [],
        decisions=list(decisions.select_related("alert")[:10]),
        statuses=status_counts() if sees["monitor"] else {},
        sees=sees,
        wrong=wrong(numbers),
        sentences=sentences(numbers, clock[0].summary if clock else ""),
    )


def may_see(user: User | AnonymousUser, model: type[Model]) -> bool:
    """Whether somebody may open the pages of a model."""
    app, name = model._meta.app_label, model._meta.model_name
    return any(user.has_perm(f"{app}.{may}_{name}") for may in ("view", "change"))


def as_seen_by(user: User | AnonymousUser, found: Rows, model: type[Model]) -> Rows:
    """Return rows that the pages of a model tell of, or none if they are closed."""
    return found if may_see(user, model) else found.none()


# In numbers and words


def wrong(numbers: dict[str, int]) -> int:
    """How many things are wrong; messages given up are one thing together.

    An alert whose announcement fails has no incident and is counted as that.
    """
    alone = ("incidents", "alerts", "unwatched", "clock", "held", "late")
    single = sum(numbers[n] for n in alone)
    inside = numbers["evaluations"] + bool(numbers["announcements"])
    return single + inside + bool(numbers["given_up"])


def sentences(numbers: dict[str, int], clock: str) -> list[str]:
    def say(name: str, one: str, many: str) -> str:
        n = numbers[name]
        said = one if n == 1 else many
        return f"{desk.number(n).capitalize()} {said}." if n else ""

    said = [
        say("public", "incident is public", "incidents are public"),
        say("drafts", "incident is a draft", "incidents are drafts"),
        say("alerts", "alert has no incident", "alerts have no incident"),
        say(
            "unwatched",
            "monitor fails that no rule watches",
            "monitors fail that no rule watches",
        ),
        say(
            "evaluations",
            "monitor cannot be evaluated",
            "monitors cannot be evaluated",
        ),
        say(
            "announcements",
            "change of an alert cannot be announced",
            "changes of alerts cannot be announced",
        ),
        say("held", "trigger does not answer", "triggers do not answer"),
        say("late", "queue of messages stands still", "queues stand still"),
        say("given_up", "delivery was given up", "deliveries were given up"),
    ]
    return [sentence for sentence in [clock, *said] if sentence]


def tiles(numbers: dict[str, int], sees: dict[str, bool]) -> list[Tile]:
    def tile(n: int, one: str, many: str, where: str, look: str) -> Tile:
        return Tile(n, one if n == 1 else many, where, look if n else "")

    inside = numbers["evaluations"] + numbers["announcements"] + numbers["clock"]
    by_model = {
        "incident": tile(
            numbers["incidents"], "incident open", "incidents open", "#wrong", "down"
        ),
        "alert": tile(
            numbers["alerts"],
            "alert without incident",
            "alerts without incident",
            "#wrong",
            "degraded",
        ),
        "monitor": tile(
            numbers["unwatched"],
            "failing, watched by no rule",
            "failing, watched by no rule",
            "#wrong",
            "degraded",
        ),
        "": tile(
            inside,
            "failure inside Tocsin",
            "failures inside Tocsin",
            "#inside",
            "down",
        ),
        "message": tile(
            numbers["given_up"],
            "delivery given up",
            "deliveries given up",
            "#given-up",
            "",
        ),
    }
    return [tile for model, tile in by_model.items() if sees.get(model, True)]


# What is wrong outside


def open_incidents(found: QuerySet[Incident], user: User | AnonymousUser) -> list[Work]:
    impacts = Impact.objects.filter(ended_at=None).select_related("monitor")
    shown = found.prefetch_related(Prefetch("impacts", impacts, to_attr="now"))
    act = "Update" if user.has_perm("incidents.change_incident") else "Look"
    return [incident_work(incident, act) for incident in shown[:SHOWN]]


def incident_work(incident: Any, act: str) -> Work:
    mild = incident.now and not any(i.level == Impact.Level.DOWN for i in incident.now)
    facts = [
        "A draft." if incident.is_draft else "",
        f"{incident.get_state_display()}, {incident.severity_label}.",
        ", ".join(impact.monitor.name for impact in incident.now),
    ]
    return Work(
        "degraded" if mild else "down",
        desk.link(incident),
        " ".join(fact for fact in facts if fact),
        incident.started_at,
        act,
        f"{desk.address(incident)}#update",
    )


def alerts_without_incident(found: QuerySet[Alert]) -> list[Work]:
    waiting = Transition.objects.filter(announced_at=None)
    shown = found.prefetch_related(
        Prefetch("transitions", waiting, to_attr="waiting"), "decisions"
    )
    return [alert_work(alert) for alert in shown[:SHOWN]]


def alert_work(alert: Any) -> Work:
    return Work(
        "degraded" if alert.severity == AlertRule.Severity.WARNING else "down",
        desk.link(alert),
        f"Alert without incident. {why_no_incident(alert)}",
        alert.triggered_at,
        "Look",
        desk.address(alert),
    )


def why_no_incident(alert: Any) -> str:
    failing = [t for t in alert.waiting if t.error]
    decided = list(alert.decisions.all())
    if not alert.create_incident:
        return f"The rule {alert.rule_name} only notifies."
    if failing:
        return f"Announcing it fails: {failing[0].error}"
    if decided:
        return decided[0].reason
    return "It is just being announced."


def unwatched_monitors() -> QuerySet[Monitor]:
    """Those that fail and that no rule in force watches."""
    monitor = OuterRef("pk")
    asked = Q(monitors=monitor) | Q(labels__monitors=monitor) | Q(watches_all=True)
    rules = AlertRule.objects.active().filter(asked)
    failing = Monitor.objects.active().filter(state__status__in=FAILING)
    return failing.filter(~Exists(rules)).select_related("state")


def unwatched_work(monitor: Monitor) -> Work:
    return Work(
        "down" if monitor.state.status == Status.DOWN else "degraded",
        desk.link(monitor),
        f"{monitor.state.get_status_display()}, and no rule watches it. "
        f"{monitor.state.error}",
        monitor.state.since,
        "Add a rule",
        f"{reverse('admin:alerting_alertrule_add')}?monitors={monitor.pk}",
    )


# What is wrong with Tocsin itself


def evaluation_work(failure: EvaluationFailure) -> Work:
    return Work(
        "down",
        desk.link(failure.monitor),
        _said("Its rules could not be evaluated", failure.error, failure),
        failure.failed_at,
        "Look",
        desk.address(failure.monitor),
    )


def announcement_work(transition: Transition) -> Work:
    return Work(
        "down",
        desk.link(transition.alert),
        _said(
            f"{transition.get_to_display()}, but nobody could be told so",
            transition.error,
            transition,
        ),
        transition.at,
        "Look",
        desk.address(transition.alert),
    )


def _said(what: str, error: str, again: EvaluationFailure | Transition) -> SafeString:
    return format_html(
        '{}: <code class="said">{}</code> Failed {}, tries again {}.',
        what,
        error,
        desk.count(again.attempts, "time"),
        desk.due(again.due_at),
    )


def look_at_clock(at: datetime) -> tuple[list[Fact], list[Work]]:
    """When the clock last ticked, what is overdue, and whether that is wrong."""
    pulse = Pulse.objects.filter(pk="tick").first()
    # What is being checked just now is not late, however long it takes.
    idle = Q(lease_until=None) | Q(lease_until__lte=at)
    late = MonitorState.objects.filter(idle, due_at__lt=at - STILL_AFTER)
    overdue = late.aggregate(n=Count("pk"), oldest=Min("due_at"))
    total = MonitorState.objects.exclude(due_at=None).count()
    stands = bool(total) and (pulse is None or pulse.at < at - STILL_AFTER)
    facts = [
        Fact("Last tick", desk.since(pulse.at) if pulse else "never", "", stands),
        Fact(
            "Overdue now",
            f"{overdue['n'] or 'none'} of {total}",
            desk.since(overdue["oldest"]) if overdue["oldest"] else "",
            bool(overdue["n"]),
        ),
    ]
    if not stands:
        return facts, late_work(overdue["n"], overdue["oldest"])
    why = "No check is started. Is a worker running that has the queue of checks?"
    what = format_html("<b>{}</b>", "The clock stands still")
    summary = "The clock stands still: nothing is checked."
    since = pulse.at if pulse else None
    return facts, [Work("down", what, why, since, summary=summary)]


def late_work(n: int, oldest: datetime | None) -> list[Work]:
    if not n:
        return []
    late = desk.count(n, "monitor is checked late", "monitors are checked late")
    what = format_html("<b>{}</b>", late.capitalize())
    why = "The clock ticks, but the workers do not keep up with it."
    where = desk.list_address(Monitor, "o=6")
    return [Work("degraded", what, why, oldest, "Look", where, "Checks are late.")]


# What does not get out


def held_work(open_circuits: QuerySet[Circuit], at: datetime) -> list[Work]:
    """One line for each trigger that fails, and how many messages wait for it."""
    mine = Message.objects.waiting().filter(trigger=OuterRef("pk")).order_by()
    waiting = mine.values("trigger").annotate(n=Count("pk")).values("n")
    failing = open_circuits.select_related("trigger").order_by("since")
    found = failing.defer("trigger__config").annotate(waiting=Subquery(waiting))
    return [circuit_work(circuit, at) for circuit in found[:SHOWN]]


def circuit_work(circuit: Any, at: datetime) -> Work:
    name, n = circuit.trigger, circuit.waiting or 0
    wait = f"{desk.count(n, 'message')} {'waits' if n == 1 else 'wait'} for it"
    is_tried = circuit.state_at(at) == Circuit.State.PROBING
    again = "is going on" if is_tried else desk.due(circuit.resumes_at or at)
    return Work(
        "down",
        desk.link(name),
        format_html(
            '{}: it fails. Next try {}. <code class="said">{}</code>',
            wait.capitalize(),
            again,
            circuit.last_answer[:160],
        ),
        circuit.since,
        "Look",
        desk.address(circuit.trigger),
    )


def late_messages(at: datetime) -> list[Work]:
    """Messages that nothing keeps back and nobody attempts."""
    late = Message.objects.longest_wait(at)
    if late < LATE_AFTER.total_seconds():
        return []
    return [
        Work(
            "degraded",
            format_html("<b>{}</b>", "Messages are sent late"),
            "Is a worker running that has the queue of deliveries?",
            at - timedelta(seconds=late),
            "Look",
            desk.list_address(Message, "state__exact=QUEUED"),
        )
    ]


def dead_letters(given_up: QuerySet[Message]) -> list[DeadLetters]:
    """What was given up, one line for each destination, the newest first."""
    grouped = (
        given_up.order_by()
        .values("trigger", "kind", "destination")
        .annotate(number=Count("pk"), latest=Max("pk"))
        .order_by("-latest")
    )
    groups = list(grouped[:SHOWN])
    newest = Message.objects.select_related("trigger").defer("trigger__config")
    messages = newest.in_bulk([group["latest"] for group in groups])
    return [_dead(group["number"], messages[group["latest"]]) for group in groups]


def _dead(number: int, newest: Message) -> DeadLetters:
    query = {"state__exact": "FAILED", "dismissed_at__isnull": "True"}
    if newest.trigger_id:
        query["trigger__id__exact"] = str(newest.trigger_id)
    else:
        query |= {
            "trigger__isnull": "True",
            "kind__exact": newest.kind,
            "destination__exact": newest.destination,
        }
    filters = urlencode(query)
    asked = urlencode({**query, "next": reverse("admin:index")})
    return DeadLetters(
        desk.link(newest.trigger) if newest.trigger else newest.destination or "Nobody",
        newest.get_kind_display(),
        number,
        newest,
        f"{reverse('admin:outbox_message_send-again_all')}?{asked}",
        f"{reverse('admin:outbox_message_dismiss_all')}?{asked}",
        desk.list_address(Message, filters),
    )


def look_at_outbox(at: datetime, given_up: int) -> list[Fact]:
    delivered = Message.objects.filter(
        state=Message.State.DELIVERED, finished_at__gte=at - timedelta(hours=1)
    )
    waiting = Message.objects.waiting().aggregate(
        n=Count("pk"),
        oldest=Min("created_at"),
        again=Count("pk", filter=Q(attempts__gt=0)),
    )
    oldest = waiting["oldest"]
    age = (at - oldest).total_seconds() if oldest else 0
    said = f"{waiting['n']:,}, oldest {desk.length(age)}" if oldest else "none"
    return [
        Fact("Delivered", f"{delivered.count():,}"),
        Fact("Waiting", said),
        Fact("Trying again", f"{waiting['again'] or 'none'}"),
        Fact("Given up", f"{given_up or 'none'}", "in seven days", bool(given_up)),
    ]


def status_counts() -> dict[str, int]:
    active = MonitorState.objects.filter(
        monitor__is_active=True, monitor__retired_at=None
    )
    return dict(active.values_list("status").annotate(Count("pk")).order_by())
