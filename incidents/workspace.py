"""The page of an incident, where everything is done that comes after opening it."""

from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from access import desk
from monitors.models import Monitor

from . import markdown
from .exporting import EXPORTS
from .forms import EditForm, FactsForm, ImpactForm, show_now, update_form
from .models import (
    Author,
    Incident,
    IncidentAlert,
    IncidentUpdate,
    State,
    UpdateTemplate,
)
from .panels import (
    alert_row,
    countdown,
    deliveries,
    exports,
    impact_rows,
    promise,
    readers,
    severity_of,
    silence,
    standing,
    story,
)

CONFLICT = (
    "Somebody else has changed this incident since you opened the page. Nothing of "
    "yours was published; your text is kept. Read what is new, then publish again."
)

# By this the browser knows that it need not keep what was typed any longer.
ACCEPTED = "accepted"
DECIDED = "Somebody has decided about this draft before you."
TOLD = "It is told already."
ONLY = "This is the only update; delete the incident instead."
MOOT = "It is private: there is nothing to decide about it."


class Changed(Exception):
    """Somebody else has changed the incident since the page was made."""


class Workspace(desk.Retiring):
    """Every button is a door: one method that does what it says."""

    doors: ClassVar[dict[str, str]] = {
        "_publish": "publish",
        "_preview": "preview",
        "_note": "note",
        "_fill": "fill",
        "_revise": "revise",
        "_affect": "affect",
        "_spare": "spare",
        "_go_public": "go_public",
        "_hold": "hold",
        "_discard": "ask_to_discard",
        "_discarded": "discard",
    }

    def get_urls(self) -> list[URLPattern]:
        preview = self.admin_site.admin_view(self.preview_view)
        name = "incidents_incident_preview"
        update = self.admin_site.admin_view(self.update_view)
        export = self.admin_site.admin_view(self.export_view)
        return [
            path("preview/", preview, name=name),
            path(
                "<int:pk>/updates/<int:update>/",
                update,
                name="incidents_incident_update",
            ),
            path(
                "<int:pk>/export/<slug:form>/",
                export,
                name="incidents_incident_export",
            ),
            *super().get_urls(),
        ]

    def export_view(self, request: HttpRequest, pk: int, form: str) -> HttpResponse:
        """The incident with its whole timeline, as a file."""
        incident = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_view_permission(request, incident):
            raise PermissionDenied
        if form not in EXPORTS:
            raise Http404
        made = EXPORTS[form]
        response = HttpResponse(made.make(incident), content_type=made.content_type)
        name = f"incident-{pk}.{made.ending}"
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return response

    def update_view(self, request: HttpRequest, pk: int, update: int) -> HttpResponse:
        """Edit an update, take it back, or tell now what waits."""
        incident = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_change_permission(request, incident):
            raise PermissionDenied
        kept = IncidentUpdate.every.kept().filter(incident=incident)
        found = get_object_or_404(kept.select_related("incident"), pk=update)
        if request.method != "POST":
            return self.show_update(request, found)
        if "_take_back" in request.POST:
            return self.ask_to_take_back(request, found)
        if "_taken_back" in request.POST:
            return self.take_back(request, found)
        return self.edit(request, found)

    def ask_to_take_back(
        self, request: HttpRequest, update: IncidentUpdate
    ) -> HttpResponse:
        if update.is_told and update.is_only:
            return self.refuse(request, update, ONLY)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Take this {'note' if update.is_internal else 'update'} back?",
            "opts": self.opts,
            "original": update.incident,
            "update": update,
        }
        page = "admin/incidents/incident/take_back.html"
        return TemplateResponse(request, page, context)

    def take_back(self, request: HttpRequest, update: IncidentUpdate) -> HttpResponse:
        if update.take_back(at=timezone.now(), author=desk.operator(request)):
            words = "Took the update back"
            return self.done(request, update.incident, words, ACCEPTED)
        return self.refuse(request, update, ONLY)

    def refuse(
        self, request: HttpRequest, update: IncidentUpdate, why: str
    ) -> HttpResponse:
        messages.warning(request, why)
        return HttpResponseRedirect(desk.address(update.incident))

    def edit(self, request: HttpRequest, update: IncidentUpdate) -> HttpResponse:
        """Let it say what was typed; what waits may be told with that at once."""
        tells = "_tell_now" in request.POST
        if tells and update.is_told:
            return self.refuse(request, update, TOLD)
        form = EditForm(request.POST, update=update)
        if not form.is_valid():
            return self.show_update(request, update, form)
        said = form.cleaned_data

        def write(current: Incident) -> None:
            update.incident = current
            update.edit(
                at=timezone.now(),
                author=desk.operator(request),
                body=said["body"],
                state=said.get("state"),
                told_at=said.get("at"),
            )
            if tells:
                update.publish(at=timezone.now(), author=desk.operator(request))

        try:
            self.write(update.incident, said["version"], write)
        except Changed:
            messages.warning(request, CONFLICT)
            posted = request.POST.copy()
            posted["version"] = str(Incident.objects.get(pk=update.incident_id).version)
            form = EditForm(posted, update=update)
            return self.show_update(request, update, form)
        is_told = tells and update.is_told
        words = "Published the update" if is_told else "Edited the update"
        return self.done(request, update.incident, words, ACCEPTED)

    def show_update(
        self,
        request: HttpRequest,
        update: IncidentUpdate,
        form: EditForm | None = None,
    ) -> HttpResponse:
        said = {"state": update.state, "body": update.body, "at": update.at}
        initial = {**said, "version": update.incident.version}
        context = {
            **self.admin_site.each_context(request),
            "title": "Note" if update.is_internal else "Update",
            "opts": self.opts,
            "original": update.incident,
            "update": update,
            "form": form or EditForm(initial=initial, update=update),
            "versions": list(update.versions.all()),
        }
        page = "admin/incidents/incident/update.html"
        return TemplateResponse(request, page, context)

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """The HTML that some Markdown becomes, for the script of the workspace."""
        if not (request.method == "POST" and self.has_view_permission(request)):
            raise PermissionDenied
        return HttpResponse(markdown.render(request.POST.get("body", "")[:20_000]))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        incident = self.get_object(request, object_id)
        if incident is None:
            return self._get_obj_does_not_exist_redirect(  # type: ignore[attr-defined]
                request, self.opts, object_id
            )
        if request.method != "POST":
            if not self.has_view_or_change_permission(request, incident):
                raise PermissionDenied
            return self.workspace(request, incident)
        if not self.has_change_permission(request, incident):
            raise PermissionDenied
        door = next((d for d in self.doors if d in request.POST), "_publish")
        return getattr(self, self.doors[door])(request, incident)

    def publish(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        form = update_form(incident, request.POST)
        if not form.is_valid():
            return self.workspace(request, incident, update_form=form)
        said = form.cleaned_data

        waits, soon = said["publish_at"], said["next_update"]
        begins = waits or timezone.now()

        def write(current: Incident) -> None:
            facts = {
                "state": said["state"],
                "body": said["body"],
                "author": desk.operator(request),
                "notifies": not said["is_quiet"],
                "next_update_at": soon and begins + soon,
                "impacts": form.impacts,
            }
            if waits:
                current.schedule(**facts, publish_at=waits)
            else:
                current.update(**facts, at=said["at"] or begins)

        words = "Scheduled an update" if waits else "Wrote an update"
        return self.change(request, incident, said["version"], write, words, ACCEPTED)

    def note(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        """Keep what was written among operators; who was faster does no harm."""
        form = update_form(incident, request.POST)
        form.fields["state"].required = form.fields["version"].required = False
        if not form.is_valid():
            return self.workspace(request, incident, update_form=form)
        at = form.cleaned_data["at"] or timezone.now()
        incident.note(form.cleaned_data["body"], at=at, author=desk.operator(request))
        return self.done(request, incident, "Kept as an internal note", ACCEPTED)

    def fill(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        """Put the words of a template below what was typed, to be changed and sent."""
        chosen = request.POST.get("template", "")
        number = int(chosen) if chosen.isdecimal() else 0
        found = UpdateTemplate.objects.filter(pk=number)
        posted = request.POST.copy()
        if template := found.first():
            typed = posted.get("body", "").rstrip()
            words = template.body_for(incident)
            posted["body"] = f"{typed}\n\n{words}" if typed else words
            posted["state"] = template.state
        form = update_form(incident, initial=posted.dict())
        return self.workspace(request, incident, update_form=form)

    def revise(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        form = FactsForm(request.POST, instance=copy(incident))
        if not form.is_valid():
            return self.workspace(request, incident, facts_form=form)
        version = form.cleaned_data.pop("version")

        def revise(current: Incident) -> None:
            current.revise(
                at=timezone.now(), author=desk.operator(request), **form.cleaned_data
            )

        return self.change(request, incident, version, revise, "Changed the facts")

    def preview(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        form = update_form(incident, request.POST)
        html = markdown.render(request.POST.get("body", "")[:20_000])
        return self.workspace(request, incident, update_form=form, preview=html)

    def affect(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        form = ImpactForm(request.POST, incident=incident)
        if not form.is_valid():
            return self.workspace(request, incident, impact_form=form)
        monitor, level = form.cleaned_data["monitor"], form.cleaned_data["level"]
        return self.change(
            request,
            incident,
            form.cleaned_data["version"],
            lambda current: revise_impacts(
                current, {monitor: level}, desk.operator(request)
            ),
            f"{monitor} is affected",
        )

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        gone = obj is not None and obj.discarded_at is not None
        return not gone and super().has_change_permission(request, obj)

    def may_publish(self, request: HttpRequest) -> bool:
        return request.user.has_perm("incidents.publish_incident")

    def decide(
        self, request: HttpRequest, incident: Incident, decided: bool, words: str
    ) -> HttpResponse:
        """Say what was decided, or why nothing was."""
        if decided:
            return self.done(request, incident, words)
        messages.warning(request, MOOT if incident.is_private else DECIDED)
        return HttpResponseRedirect(desk.address(incident))

    def go_public(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        if not self.may_publish(request):
            raise PermissionDenied
        decided = incident.publish(at=timezone.now(), author=desk.operator(request))
        words = "Published; people are being told"
        return self.decide(request, incident, decided, words)

    def hold(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        if not self.may_publish(request):
            raise PermissionDenied
        words = "Stopped the countdown; it waits for a person"
        decided = incident.hold(at=timezone.now(), author=desk.operator(request))
        return self.decide(request, incident, decided, words)

    def ask_to_discard(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        if not self.may_publish(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": f"Discard {incident}?",
            "opts": self.opts,
            "original": incident,
        }
        page = "admin/incidents/incident/discard.html"
        return TemplateResponse(request, page, context)

    def discard(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        if not self.may_publish(request):
            raise PermissionDenied
        reason = request.POST.get("reason", "").strip()
        decided = incident.discard(
            at=timezone.now(), reason=reason, author=desk.operator(request)
        )
        return self.decide(request, incident, decided, "Discarded the draft")

    def spare(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        monitor = get_object_or_404(Monitor, pk=request.POST["_spare"])
        return self.change(
            request,
            incident,
            incident.version,
            lambda current: revise_impacts(
                current, {monitor: ""}, desk.operator(request)
            ),
            f"{monitor} is no longer affected",
        )

    def change(
        self,
        request: HttpRequest,
        incident: Incident,
        version: int,
        write: Callable[[Incident], None],
        words: str,
        tags: str = "",
    ) -> HttpResponse:
        """Write, unless somebody else has since the page was made."""
        try:
            self.write(incident, version, write)
        except Changed:
            return self.show_conflict(request, incident)
        return self.done(request, incident, words, tags)

    def write(
        self, incident: Incident, version: int, write: Callable[[Incident], None]
    ) -> None:
        """Raise Changed if the incident is not as it was when the page was made."""
        with transaction.atomic():
            locked = Incident.objects.select_for_update(no_key=True)
            current = locked.get(pk=incident.pk)
            is_gone = current.deleted_at or current.discarded_at
            if current.version != version or is_gone:
                raise Changed
            write(current)

    def show_conflict(self, request: HttpRequest, incident: Incident) -> HttpResponse:
        """Keep what was typed, show what is new, and let it be sent again."""
        messages.warning(request, CONFLICT)
        posted = request.POST.copy()
        posted["version"] = str(incident.version)
        if "_revise" in posted:
            form = FactsForm(posted, instance=copy(incident))
            return self.workspace(request, incident, facts_form=form)
        if "_affect" in posted:
            chosen = ImpactForm(posted, incident=incident)
            return self.workspace(request, incident, impact_form=chosen)
        if "_spare" in posted:
            return self.workspace(request, incident)
        show_now(incident, posted)
        return self.workspace(
            request, incident, update_form=update_form(incident, posted)
        )

    def done(
        self, request: HttpRequest, incident: Incident, words: str, tags: str = ""
    ) -> HttpResponse:
        self.log_change(request, incident, f"{words}.")
        self.message_user(request, f"{words}.", extra_tags=tags)
        return HttpResponseRedirect(desk.address(incident))

    def workspace(
        self, request: HttpRequest, incident: Any, **more: Any
    ) -> HttpResponse:
        version = {"version": incident.version}
        links = IncidentAlert.objects.filter(incident=incident)
        alerts = [link.alert for link in links.select_related("alert")]
        context = {
            **self.admin_site.each_context(request),
            "title": incident.title,
            "opts": self.opts,
            "original": incident,
            "state": standing(incident),
            "severity": severity_of(incident),
            "may_change": self.has_change_permission(request, incident),
            "may_publish": self.may_publish(request),
            "countdown": countdown(incident),
            "readers": readers(incident),
            "promise": promise(incident) or silence(incident),
            "reach": incident.is_draft and desk.panels(request, incident, "draft"),
            "may_delete": self.has_delete_permission(request, incident),
            "states": State.choices,
            "update_form": update_form(
                incident, initial={"state": incident.state} | version
            ),
            "facts_form": FactsForm(instance=incident, initial=version),
            "impact_form": ImpactForm(initial=version, incident=incident),
            "answers": "update_form" in more,
            "preview": "",
            "impacts": impact_rows(incident),
            "alerts": alerts,
            "alert_rows": [alert_row(alert) for alert in alerts],
            "timeline": story(incident),
            "exports": exports(incident),
            "deliveries": deliveries(incident),
            "panels": desk.panels(request, incident, "below"),
            "side_panels": desk.panels(request, incident, "side"),
            "audience": desk.panels(request, incident, "audience"),
            **more,
        }
        page = "admin/incidents/incident/workspace.html"
        return TemplateResponse(request, page, context)


def revise_impacts(
    incident: Incident, changes: dict[Monitor, str], author: Author
) -> None:
    """Change what some monitors suffer; without a level they are spared."""
    current = incident.impacts.filter(ended_at=None).select_related("monitor")
    impacts = {impact.monitor: impact.level for impact in current} | changes
    suffering = {monitor: level for monitor, level in impacts.items() if level}
    incident.revise(at=timezone.now(), impacts=suffering, author=author)
