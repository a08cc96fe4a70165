"""On which pages an incident shows: a panel of its workspace, and what it posts to."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from access import desk
from incidents.models import Incident

from .models import PageIncident, StatusPage

ALL, SOME = "all", "some"


class PagesForm(forms.Form):
    shows = forms.ChoiceField(
        label="Shows on",
        choices=[(ALL, "All pages it concerns"), (SOME, "Only these")],
        widget=forms.RadioSelect,
    )
    pages = forms.ModelMultipleChoiceField(
        StatusPage.objects.all(),
        label="Pages",
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )

    def clean(self) -> dict[str, Any]:
        said = super().clean() or self.cleaned_data
        if said.get("shows") == SOME and not said.get("pages", True):
            raise forms.ValidationError("Tick a page, or choose all it concerns.")
        return said

    @property
    def chosen(self) -> list[StatusPage]:
        """The pages ticked; what was ticked counts for nothing under all of them."""
        is_global = self.cleaned_data["shows"] == ALL
        return [] if is_global else list(self.cleaned_data["pages"])


def panel(request: HttpRequest, incident: Incident) -> str:
    """Say where the incident shows, to be changed by whoever may."""
    rows = PageIncident.of(incident)
    chosen = [row.page for row in rows if row.page]
    initial = {"shows": SOME if rows else ALL, "pages": [page.pk for page in chosen]}
    context = {
        "form": PagesForm(initial=initial, auto_id="id_on_%s"),
        "may_change": _may_change(request, incident),
        "is_global": not rows,
        "is_private": incident.is_private,
        "chosen": chosen,
        "action": reverse("admin:incidents_incident_pages", args=[incident.pk]),
    }
    return render_to_string("admin/statuspages/incident_pages.html", context, request)


def _may_change(request: HttpRequest, incident: Incident) -> bool:
    return not incident.is_withdrawn and request.user.has_perm(
        "incidents.change_incident"
    )


def choose(shown: desk.Desk, request: HttpRequest, pk: int) -> HttpResponse:
    """Do what the panel asks for, and go back to the workspace."""
    incident: Incident = shown.to_change(request, pk)
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    form = PagesForm(request.POST)
    if form.is_valid():
        _choose(shown, request, incident, form.chosen)
    for fault in (str(f) for faults in form.errors.values() for f in faults):
        messages.error(request, fault)
    return HttpResponseRedirect(desk.address(incident))


def _choose(
    shown: desk.Desk, request: HttpRequest, incident: Incident, pages: list[StatusPage]
) -> None:
    facts: dict[str, Any] = {"at": timezone.now(), "author": request.user}
    if PageIncident.choose(incident, pages, **facts):
        said = "Chose the pages it shows on."
        shown.log_change(request, incident, said)
        shown.message_user(request, said)
