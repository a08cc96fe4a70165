"""Where people keep Tocsin quiet for a while, and say what flapping is."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from access import desk
from access.forms import UTCInput
from monitors import labels
from monitors.admin import add_mark
from monitors.forms import UNREADABLE, ZoneInput
from monitors.models import Monitor

from . import flapping
from .models import Alert, AlertRule, FlapDetection, Silence, SilenceQuerySet
from .silences import DAYS

SHOWN: Final = 20
# So many of what a silence is for are named in the list.
NAMED: Final = 3
HOUR: Final = timedelta(hours=1)
LENGTHS: Final = {"1h": "1 h", "4h": "4 h", "1d": "1 day", "monday": "until Monday"}
FOR_ALL_MONITORS: Final = Monitor.objects.current().defer("config")


def end_of(length: str, at: datetime) -> datetime:
    """When a silence of one click ends; Monday is meant at 08:00 UTC."""
    if length == "monday":
        day = at.astimezone(UTC).replace(hour=8, minute=0, second=0, microsecond=0)
        monday = day - timedelta(days=day.weekday())
        return monday if monday > at else monday + timedelta(days=7)
    return at + {"1h": HOUR, "4h": 4 * HOUR, "1d": 24 * HOUR}[length]


class SilenceForm(forms.ModelForm):
    starts_at = forms.DateTimeField(
        label="From",
        widget=UTCInput,
        help_text="UTC.",
        error_messages=UNREADABLE,
    )
    ends_at = forms.DateTimeField(
        label="Until",
        widget=UTCInput,
        required=False,
        help_text="UTC. Empty only for one that comes again each week.",
        error_messages=UNREADABLE,
    )
    weekdays = forms.TypedMultipleChoiceField(
        label="On",
        coerce=int,
        choices=list(enumerate(DAYS)),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="The days on which it begins.",
    )

    class Meta:
        model = Silence
        fields = [
            *("reason", "silences_all", "monitors", "labels", "rules"),
            *("starts_at", "ends_at"),
            *("weekdays", "from_time", "until_time", "time_zone"),
        ]
        labels = {
            "reason": "Why",
            "silences_all": "Every alert",
            "from_time": "From",
            "until_time": "Until",
        }
        help_texts = {
            "monitors": "Where: these, and those with one of the labels.",
            "rules": "What: with none, every rule there; with monitors or labels, "
            "these rules on those monitors.",
            "until_time": "Not after the beginning, it is meant on the next day.",
        }
        widgets = {
            "from_time": forms.TimeInput(attrs={"type": "time"}),
            "until_time": forms.TimeInput(attrs={"type": "time"}),
            "time_zone": ZoneInput(
                attrs={"list": "zones", "autocomplete": "off", "spellcheck": "false"}
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offered = {"monitors": FOR_ALL_MONITORS, "rules": AlertRule.objects.current()}
        for name, queryset in offered.items():
            if name in self.fields:
                self._offer(name, queryset.all())

    def _offer(self, name: str, queryset: QuerySet[Any]) -> None:
        """What is in service, and what it was for already."""
        if self.instance.pk:
            chosen = getattr(self.instance, name).values("pk")
            queryset = queryset.model.objects.filter(
                Q(retired_at=None) | Q(pk__in=chosen)
            )
        choice: Any = self.fields[name]
        choice.queryset = queryset

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        given = self.cleaned_data
        targets = ("silences_all", "monitors", "labels", "rules")
        if not any(given.get(name) for name in targets):
            self.add_error("silences_all", Silence.NO_TARGETS)
        return cleaned


class WhenFilter(admin.SimpleListFilter):
    title = "when"
    parameter_name = "when"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("now", "Now"), ("comes", "Comes, or comes again"), ("over", "Over")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Silence]
    ) -> QuerySet[Silence]:
        if self.value() not in ("now", "comes", "over"):
            return queryset
        at = timezone.now()
        lasting = Silence.objects.lasting(at)
        if self.value() == "over":
            return queryset.exclude(pk__in=lasting.values("pk"))
        covering = [s.pk for s in Silence.objects.current(at) if s.covers(at)]
        if self.value() == "now":
            return queryset.filter(pk__in=covering)
        return queryset.filter(pk__in=lasting.values("pk")).exclude(pk__in=covering)


@admin.register(Silence)
class SilenceAdmin(desk.Desk):
    """Added, prolonged and ended; never deleted."""

    form = SilenceForm
    actions = ["end_now"]
    filter_horizontal = ["monitors", "rules"]
    list_display = ["reason", "standing", "targets", "when", "author"]
    list_filter = [WhenFilter, "silences_all"]
    search_fields = ["reason", "author", "monitors__name", "monitors__tag"]
    search_help_text = "A reason, who made it, or a monitor"
    fieldsets = [
        (None, {"fields": ["reason"]}),
        (
            "What is silenced",
            {
                "fields": ["silences_all", "monitors", "labels", "rules"],
                "description": "Alerts are noted as ever; nobody is told of them, and "
                "they open no incident, until the silence is over.",
            },
        ),
        ("How long", {"fields": ["starts_at", "ends_at"]}),
        (
            "Each week",
            {
                "fields": ["weekdays", ("from_time", "until_time"), "time_zone"],
                "description": "Only at these times. Without days it silences all the "
                "time.",
            },
        ),
    ]
    lede = "Times in which alerts are noted and nobody is told of them."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Silence]:
        named = Monitor.objects.only("pk", "name")
        silences = super().get_queryset(request)
        return silences.prefetch_related(Prefetch("monitors", named), "rules", "labels")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_over = obj is not None and obj.is_over(timezone.now())
        return not is_over and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # it says for ever why nobody was told

    def save_model(
        self, request: HttpRequest, obj: Silence, form: Any, change: bool
    ) -> None:
        if not change:
            obj.author = str(request.user)
        obj.save()

    def object_actions(self, shown: Silence) -> list[desk.ObjectAction]:
        if shown.is_over(timezone.now()):
            return []
        return [desk.ObjectAction("end_now", "End now")]

    @admin.action(description="End now", permissions=["operate"])
    def end_now(self, request: HttpRequest, queryset: QuerySet[Silence]) -> None:
        at = timezone.now()
        ended = [silence for silence in queryset if silence.end(at=at)]
        outcome = "ended; what goes on is told of within seconds."
        self.note_changes(request, ended, "Ended by hand.", outcome)

    # Of one click

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_POST(self.quick))
        quick = path("quick/", view, name="alerting_silence_quick")
        return [quick, *super().get_urls()]

    def quick(self, request: HttpRequest) -> HttpResponse:
        """Silence a monitor, a rule, or a rule on a monitor, as its page says."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        back = desk.came_from(request) or desk.list_address(Silence)
        monitor = _row(FOR_ALL_MONITORS, request.POST.get("monitor", ""))
        rule = _row(AlertRule.objects.current(), request.POST.get("rule", ""))
        length = request.POST.get("length", "")
        if length not in LENGTHS or not (monitor or rule):
            self.message_user(request, "There is nothing to silence.", "error")
            return HttpResponseRedirect(back)
        silence = self._silence(request, length, monitor, rule)
        self.log_addition(request, silence, f"Silenced {LENGTHS[length]}.")
        until = desk.moment(silence.ends_at)
        said = format_html("{} until {}.", desk.link(silence, "Silenced"), until)
        self.message_user(request, said)
        return HttpResponseRedirect(back)

    def _silence(
        self,
        request: HttpRequest,
        length: str,
        monitor: Monitor | None,
        rule: AlertRule | None,
    ) -> Silence:
        at = timezone.now()
        given = request.POST.get("reason", "").strip()[:200]
        made = Silence.objects.create(
            reason=given or f"Silenced by {request.user.get_username()}",
            starts_at=at,
            ends_at=end_of(length, at),
            author=str(request.user),
        )
        made.monitors.set([monitor] if monitor else [])
        made.rules.set([rule] if rule else [])
        return made

    # In columns

    @admin.display(description="Now", ordering="starts_at")
    def standing(self, silence: Silence) -> SafeString:
        return desk.state(*_standing(silence, timezone.now()))

    @admin.display(description="Silences")
    def targets(self, silence: Silence) -> str:
        return in_words(silence)

    @admin.display(description="When", ordering="starts_at")
    def when(self, silence: Silence) -> SafeString:
        end = silence.ended_at or silence.ends_at
        return format_html(
            "{} to {}{}",
            desk.moment(silence.starts_at),
            desk.moment(end) if end else "no end",
            _weekly(silence),
        )


def _row(found: QuerySet[Any], number: str) -> Any:
    is_number = number.isdecimal() and len(number) < 19
    return found.filter(pk=number).first() if is_number else None


def _standing(silence: Silence, at: datetime) -> tuple[str, str]:
    if silence.ended_at:
        return "no_data", "Ended by hand"
    if silence.is_over(at):
        return "no_data", "Over"
    if silence.covers(at):
        return "maintenance", "Silenced"
    return "up", "Comes again" if silence.starts_at <= at else "Comes"


def in_words(silence: Silence) -> str:
    """Whom it silences: rules, and where; rows have been fetched before."""
    if silence.silences_all:
        return "every alert"
    rules = _named(silence.rules.all())
    here = _named([*silence.monitors.all(), *silence.labels.all()])
    if rules and here:
        return f"{rules} on {here}"
    return rules or here or "nothing"


def _named(found: Iterable[object]) -> str:
    names = [str(one) for one in found]
    left = len(names) - NAMED
    return ", ".join([*names[:NAMED], *([f"{left:,} more"] if left > 0 else [])])


def _weekly(silence: Silence) -> str | SafeString:
    if not (silence.weekdays and silence.from_time and silence.until_time):
        return ""
    return format_html(
        "<small>{}, {} to {}, {}</small>",
        ", ".join(DAYS[day][:3] for day in sorted(silence.weekdays)),
        f"{silence.from_time:%H:%M}",
        f"{silence.until_time:%H:%M}",
        silence.time_zone,
    )


# On the pages of what is silenced


def of_monitor(request: HttpRequest, monitor: Monitor) -> str:
    found = Silence.objects.of_monitor(monitor)
    return _panel(request, found, monitor=None if monitor.retired_at else monitor)


def of_rule(request: HttpRequest, rule: AlertRule) -> str:
    found = Silence.objects.of_rule(rule)
    return _panel(request, found, rule=None if rule.retired_at else rule)


def of_alert(request: HttpRequest, alert: Alert) -> str:
    if alert.state != Alert.State.TRIGGERED or not (alert.monitor and alert.rule):
        return ""
    found = Silence.objects.of_monitor(alert.monitor).of_rule(alert.rule)
    return _panel(request, found, monitor=alert.monitor, rule=alert.rule)


def _panel(
    request: HttpRequest,
    found: SilenceQuerySet,
    *,
    monitor: Monitor | None = None,
    rule: AlertRule | None = None,
) -> str:
    """The silences that are not over, and buttons that make another one."""
    pages = SilenceAdmin(Silence, admin.site)
    lasting = pages.get_queryset(request).filter(
        pk__in=found.lasting(timezone.now()).values("pk")
    )
    rows = [_panel_row(pages, silence) for silence in lasting[:SHOWN]]
    named = {"monitor": monitor, "rule": rule}
    targets = {name: row.pk for name, row in named.items() if row}
    may_add = bool(targets) and pages.has_add_permission(request)
    if not rows and not may_add:
        return ""
    query = "&".join(f"{name}s={pk}" for name, pk in targets.items())
    context = {
        "rows": rows,
        "targets": targets if may_add else {},
        "lengths": LENGTHS,
        "quick": reverse("admin:alerting_silence_quick"),
        "other": f"{reverse('admin:alerting_silence_add')}?{query}",
        "back": request.path,
    }
    return render_to_string("admin/alerting/silence/panel.html", context, request)


def _panel_row(pages: SilenceAdmin, silence: Silence) -> Sequence[object]:
    standing, when = pages.standing(silence), pages.when(silence)
    return [desk.link(silence), standing, in_words(silence), when, silence.author]


desk.add_panel(Alert, of_alert)
desk.add_panel(AlertRule, of_rule)
desk.add_panel(Monitor, of_monitor)


# Flapping


@admin.register(FlapDetection)
class FlapDetectionAdmin(desk.OneRowDesk):
    fields = ["is_on", "start_percent", "stop_percent", "escape_minutes"]


def mark_flapping(monitor: Monitor) -> str:
    """What stands beside the status of a monitor that turns to and fro."""
    state = monitor.state
    if not state.is_flapping:
        return ""
    return f"Flapping {flapping.percent(state.recent):.0f} %"


add_mark(mark_flapping)
labels.ask_before_deleting("alert rule", AlertRule.objects.current)
labels.ask_before_deleting("silence", lambda: Silence.objects.lasting(timezone.now()))
