"""Pages beside the workspace: merge, split, relate, and who sees an incident."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from django import forms
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from access import desk

from . import merging
from .fields import Words, seen_by
from .forms import suffering
from .models import Incident, Relation

SHOWN = 50


class IncidentField(forms.IntegerField):
    """Another incident that the operator may see, by its number."""

    # Numbers and titles to choose from: a list that browsers show below the field.
    options: Sequence[tuple[int, str]] = ()

    def look_among(self, incident: Incident, user: User, name: str) -> None:
        """Offer the newest, those that are open before the others."""
        current = Incident.objects.current().filter(discarded_at=None)
        self.found = current.visible_to(user).exclude(pk=incident.pk)
        newest = self.found.order_by("ended_at", "-started_at")[:SHOWN]
        self.options = [(other.pk, other.title) for other in newest]
        self.widget.attrs["list"] = f"id_{name}-list"

    def clean(self, value: Any) -> Any:
        number = super().clean(value)
        other = self.found.filter(pk=number).first() if number else None
        if other is None:
            raise forms.ValidationError("There is no such incident.")
        return other


class ActForm(forms.Form):
    """What a page asks before it does something to an incident."""

    def __init__(
        self, *args: Any, incident: Incident, user: User, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        self.incident, self.user = incident, user
        self.prepare()

    def prepare(self) -> None:
        for name, field in self.fields.items():
            if isinstance(field, IncidentField):
                field.look_among(self.incident, self.user, name)

    def question(self) -> str:
        """What is asked before it is done; nothing if it can be taken back."""
        return ""

    def act(self) -> Incident:
        """Do it, and return the incident that is to be shown then."""
        raise NotImplementedError

    @property
    def by(self) -> dict[str, Any]:
        return {"at": timezone.now(), "author": self.user}


class MergeForm(ActForm):
    into = IncidentField(
        label="Into", help_text="The number of the incident that tells of both."
    )
    body = Words(
        label="What it says of that",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=20_000,
        help_text="Markdown. Empty: one sentence if this one is public, else nothing.",
    )

    def clean_into(self) -> Incident:
        into: Incident = self.cleaned_data["into"]
        if reason := merging.reason_not_to_merge(self.incident, into):
            raise forms.ValidationError(reason)
        return into

    def question(self) -> str:
        into: Incident = self.cleaned_data["into"]
        return (
            f"“{self.incident}” becomes part of “{into}” (number {into.pk}, "
            f"{into.get_state_display().lower()}). This cannot be undone."
        )

    def act(self) -> Incident:
        into: Incident = self.cleaned_data["into"]
        merging.merge(self.incident, into, body=self.cleaned_data["body"], **self.by)
        return into


class SplitForm(ActForm):
    monitors = forms.MultipleChoiceField(
        label="Monitors",
        widget=forms.CheckboxSelectMultiple,
        help_text="Their impacts and alerts go over.",
    )
    title = forms.CharField(
        max_length=255, widget=forms.TextInput(attrs={"class": "vTextField"})
    )
    summary = Words(
        label="What to say",
        widget=forms.Textarea(attrs={"rows": 5}),
        max_length=20_000,
        help_text="Markdown. The first update of the new incident.",
    )

    def prepare(self) -> None:
        impacts = self.incident.impacts.filter(ended_at=None)
        found = [impact.monitor for impact in impacts.select_related("monitor")]
        self.affected = {str(monitor.pk): monitor for monitor in found}
        choices = [(pk, monitor.name) for pk, monitor in self.affected.items()]
        self.fields["monitors"].choices = choices  # type: ignore[attr-defined]

    def act(self) -> Incident:
        said = dict(self.cleaned_data)
        monitors = [self.affected[pk] for pk in said.pop("monitors")]
        return merging.split(self.incident, monitors, **said, **self.by)


class RelateForm(ActForm):
    other = IncidentField(label="To", help_text="The number of the other incident.")
    kind = forms.ChoiceField(
        label="It is",
        choices=Relation.Kind.choices,
        widget=forms.RadioSelect,
        initial=Relation.Kind.RELATED,
    )

    def act(self) -> Incident:
        merging.relate(self.incident, **self.cleaned_data, **self.by)
        return self.incident


class PrivacyForm(ActForm):
    groups = forms.ModelMultipleChoiceField(
        Group.objects.order_by("name"),
        label="Seen by",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Nobody else sees it, here or over the API. None: a draft that every "
        "operator sees.",
    )

    def prepare(self) -> None:
        self.initial.setdefault("groups", [*self.incident.groups.all()])

    def clean_groups(self) -> QuerySet[Group]:
        return seen_by(self.cleaned_data["groups"], self.user)

    def act(self) -> Incident:
        if not self.incident.restrict(self.cleaned_data["groups"], **self.by):
            raise ValidationError("It is public, or was withdrawn by somebody else.")
        return self.incident


class Act(NamedTuple):
    """A page: what it asks, says and is called, and of which incidents."""

    name: str
    label: str
    form: type[ActForm]
    lede: str
    done: str
    is_for: Callable[[Incident], bool]


ACTS = [
    Act(
        "merge",
        "Merge",
        MergeForm,
        "Another incident tells of it from now on: its alerts and impacts go over, its "
        "public address leads there, and what is queued about it is cancelled. This "
        "cannot be undone.",
        "Merged",
        lambda incident: True,
    ),
    Act(
        "split",
        "Split",
        SplitForm,
        "Some of its monitors get an incident of their own, public or not as this one "
        "is.",
        "Split",
        lambda incident: incident.goes_on and len(suffering(incident)) > 1,
    ),
    Act(
        "relate",
        "Relate",
        RelateForm,
        "Each of the two shows the other; where both are public, also to the public.",
        "Related",
        lambda incident: True,
    ),
    Act(
        "privacy",
        "Who sees it",
        PrivacyForm,
        "An incident that is not public can be kept among some groups of operators.",
        "Changed who sees it",
        lambda incident: incident.published_at is None,
    ),
]


def page_of(act: Act) -> Any:
    """Return the page that asks for what one act needs, and does it."""

    def page(shown: desk.Desk, request: HttpRequest, pk: int) -> HttpResponse:
        incident: Incident = shown.to_change(request, pk)
        posted = request.POST if request.method == "POST" else None
        form = act.form(posted, incident=incident, user=desk.operator(request))
        question = form.question() if form.is_valid() else ""
        if form.is_valid() and question in ("", request.POST.get("sure")):
            try:
                after = form.act()
            except ValidationError as refused:
                _refuse(form, refused)
            else:
                shown.log_change(request, after, f"{act.done}.")
                shown.message_user(request, f"{act.done}.")
                return HttpResponseRedirect(desk.address(after))
        context = {
            **shown.admin_site.each_context(request),
            "title": f"{act.label}: {incident}",
            "opts": shown.opts,
            "original": incident,
            "act": act,
            "form": form,
            "question": question if form.is_valid() else "",
        }
        name = "admin/incidents/incident/act.html"
        return TemplateResponse(request, name, context)

    return page


def _refuse(form: ActForm, refused: ValidationError) -> None:
    for name, reasons in refused.message_dict.items():
        form.add_error(name if name in form.fields else None, reasons)


def unrelate(shown: desk.Desk, request: HttpRequest, pk: int) -> HttpResponse:
    """Take a relation back, and return to the workspace."""
    incident: Incident = shown.to_change(request, pk)
    number = request.POST.get("other", "")
    found = Incident.objects.filter(pk=int(number) if number.isdecimal() else 0)
    other, facts = (
        found.first(),
        {"at": timezone.now(), "author": desk.operator(request)},
    )
    if other and merging.unrelate(incident, other, **facts):
        shown.message_user(request, "No longer related.")
    return HttpResponseRedirect(desk.address(incident))


# In the workspace


def links(request: HttpRequest, incident: Incident) -> str:
    """What it has to do with others, and what may be done about that."""
    context = {
        "rows": [*_merged(request, incident), *_related(request, incident)],
        "acts": _acts(request, incident),
        "incident": incident,
    }
    return render_to_string("admin/incidents/incident/links.html", context, request)


def _acts(request: HttpRequest, incident: Incident) -> list[tuple[str, str]]:
    may = request.user.has_perm("incidents.change_incident")
    if not may or incident.is_withdrawn:
        return []
    return [
        (act.label, reverse(f"admin:incidents_incident_{act.name}", args=[incident.pk]))
        for act in ACTS
        if act.is_for(incident)
    ]


def _merged(request: HttpRequest, incident: Incident) -> list[tuple[str, Any, bool]]:
    merged = Incident.objects.visible_to(request.user).filter(merged_into=incident)
    return [("Took over", other, False) for other in merged.order_by("pk")]


def _related(request: HttpRequest, incident: Incident) -> list[tuple[str, Any, bool]]:
    seen = Incident.objects.current().visible_to(request.user)
    rows = Relation.objects.of(incident, seen).select_related("incident", "other")
    return [
        (row.get_kind_display(), row.other, True)
        if row.is_noted_with(incident)
        else (_seen_from_other(row), row.incident, True)
        for row in rows
    ]


def _seen_from_other(relation: Relation) -> str:
    is_duplicate = relation.kind == Relation.Kind.DUPLICATE
    return "Has a duplicate" if is_duplicate else relation.get_kind_display()


for _act in ACTS:
    desk.add_page(
        Incident,
        f"<int:pk>/{_act.name}/",
        page_of(_act),
        f"incidents_incident_{_act.name}",
    )
desk.add_page(Incident, "<int:pk>/unrelate/", unrelate, "incidents_incident_unrelate")
desk.add_panel(Incident, links, "side")
