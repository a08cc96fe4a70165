from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django_filters import filters
from django_filters.rest_framework import FilterSet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    extend_schema,
)
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import (
    NotFound,
    PermissionDenied,
    ValidationError,
)
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import (
    MOST_NUMBER,
    Created,
    Edited,
    Listed,
    TrueFalseFilter,
)
from access.models import ApiKey
from access.permissions import may

from .exporting import EXPORTS
from .models import (
    Author,
    Impact,
    Incident,
    IncidentQuerySet,
    IncidentUpdate,
    State,
    TimelineEntry,
    UpdateTemplate,
)
from .serializers import (
    Decided,
    DiscardSerializer,
    EditSerializer,
    IncidentSerializer,
    NewIncidentSerializer,
    TimelineSerializer,
    UpdateSerializer,
    UpdateTemplateSerializer,
    WholeUpdateSerializer,
    WrittenSerializer,
    author_of,
    refuse_stale,
)


class MarkdownRenderer(JSONRenderer):
    """Lets Markdown be asked for; what is refused is JSON all the same."""

    media_type = "text/markdown"
    format = "markdown"


class PdfRenderer(JSONRenderer):
    """The same for PDF."""

    media_type = "application/pdf"
    format = "pdf"


def why_discarded(incident: Incident) -> str:
    """Say why nothing is written to it any more."""
    if incident.merged_into_id:
        return "This incident became part of another; write to that."
    return "This draft was discarded."


DECIDED: Any = {
    200: IncidentSerializer,
    (409, "application/problem+json"): OpenApiTypes.OBJECT,
}


def _behind(request: Request) -> User | AnonymousUser:
    """Who sees what a request asks for: the operator, or who made the key."""
    if isinstance(request.auth, ApiKey):
        return request.auth.created_by or AnonymousUser()
    return request.user


class IncidentFilters(FilterSet):
    state = filters.ChoiceFilter(choices=State.choices)
    source = filters.ChoiceFilter(choices=Incident.Source.choices)
    monitor = filters.CharFilter(method="of_monitor", help_text="A tag.")
    open = TrueFalseFilter(method="are_open")
    owner = filters.CharFilter("owner__username", help_text="A name.")
    label = filters.CharFilter("labels__name", help_text="A name.")
    search = filters.CharFilter(
        method="saying",
        help_text="Words that title, updates or monitors' names have, all of them.",
    )
    draft = TrueFalseFilter(
        method="are_drafts", help_text="Only drafts, or only what is public."
    )

    class Meta:
        model = Incident
        fields: list[str] = []

    def saying(
        self, queryset: IncidentQuerySet, name: str, words: str
    ) -> IncidentQuerySet:
        # Who may not read notes cannot find out either what is in them.
        may_write = self.request is not None and may(self.request, "incidents:write")
        return queryset.saying(words, internal=may_write)

    def of_monitor(
        self, queryset: QuerySet[Incident], name: str, tag: str
    ) -> QuerySet[Incident]:
        touched = Impact.objects.filter(monitor__tag=tag)
        return queryset.filter(pk__in=touched.values("incident"))

    def are_open(
        self, queryset: QuerySet[Incident], name: str, value: bool
    ) -> QuerySet[Incident]:
        is_over = Q(state=State.RESOLVED) | ~Q(discarded_at=None)
        return queryset.filter(~is_over if value else is_over)

    def are_drafts(
        self, queryset: IncidentQuerySet, name: str, value: bool
    ) -> IncidentQuerySet:
        if value:
            return queryset.drafts()
        return queryset.exclude(published_at=None)


class IncidentViewSet(Listed, Created, Edited):
    """Incidents, newest first. Drafts are for keys that may write them."""

    scope = "incidents"
    serializer_class = IncidentSerializer
    filterset_class = IncidentFilters
    queryset = Incident.objects.current().order_by("-started_at", "-pk")

    def get_queryset(self) -> QuerySet[Incident]:
        impacts = Impact.objects.select_related("monitor").order_by("pk")
        # Nothing more is shown, and there may be thousands.
        impacts = impacts.only("incident", "level", "ended_at", "monitor__tag")
        updates = IncidentUpdate.objects.only(
            *("incident", "state", "body", "at", "edited_at")
        )
        found: Any = super().get_queryset()
        if not may(self.request, "incidents:write"):
            found = found.exclude(published_at=None).filter(merged_into=None)
        found = found.visible_to(_behind(self.request))
        found = found.select_related("owner")
        parts = (Prefetch("impacts", impacts), Prefetch("updates", updates), "labels")
        return found.prefetch_related(*parts)

    @extend_schema(request=NewIncidentSerializer, responses={201: IncidentSerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Open a public incident; whoever subscribed is told."""
        self.serializer_class = NewIncidentSerializer
        return super().create(request, *args, **kwargs)

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Take the incident back: nothing shows or tells of it any more."""
        self.get_object().delete_by_hand(at=timezone.now(), author=author_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change the facts, one caller after the other."""
        self._refuse_discarded(self.get_object())
        return super().partial_update(request, *args, **kwargs)

    @extend_schema(request=None, responses=DECIDED)
    @action(detail=True, methods=["post"], filterset_class=None)
    def publish(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make a draft public; whoever subscribed is told. Again does nothing."""
        incident = self.get_object()
        incident.publish(at=timezone.now(), author=author_of(request))
        incident.refresh_from_db()
        self._refuse_discarded(incident)
        self._refuse_private(incident)
        return Response(self.shown(incident))

    @extend_schema(request=None, responses=DECIDED)
    @action(detail=True, methods=["post"], filterset_class=None)
    def hold(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Stop the countdown of a draft. Again does nothing."""
        incident = self.get_object()
        incident.hold(at=timezone.now(), author=author_of(request))
        self._refuse_discarded(incident)
        self._refuse_public(incident)
        self._refuse_private(incident)
        return Response(self.shown(incident))

    @extend_schema(request=DiscardSerializer, responses=DECIDED)
    @action(detail=True, methods=["post"], filterset_class=None)
    def discard(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Never publish a draft; it stays on record. Again does nothing."""
        incident = self.get_object()
        said = DiscardSerializer(data=request.data)
        said.is_valid(raise_exception=True)
        incident.discard(
            at=timezone.now(), author=author_of(request), **said.validated_data
        )
        incident.refresh_from_db()
        self._refuse_public(incident)
        self._refuse_private(incident)
        return Response(self.shown(incident))

    def _refuse_discarded(self, incident: Incident) -> None:
        if incident.discarded_at:
            raise Decided(why_discarded(incident))

    def _refuse_public(self, incident: Incident) -> None:
        if incident.published_at:
            raise Decided("This incident is public; delete it, or resolve it.")

    def _refuse_private(self, incident: Incident) -> None:
        if incident.is_private:
            text = (
                "This incident is private; restrict it to no group, and it is a draft."
            )
            raise Decided(text)

    @extend_schema(
        operation_id="incidents_updates_list", responses=WrittenSerializer(many=True)
    )
    @action(detail=True, filterset_class=None)
    def updates(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The story, newest first; with notes for those who may write."""
        may_write = may(request, "incidents:write")
        shown = IncidentUpdate.every.kept() if may_write else IncidentUpdate.objects
        written = shown.filter(incident=self.get_object()).order_by("-at", "-pk")
        page: Iterable[IncidentUpdate] = self.paginate_queryset(written) or []
        serializer = WrittenSerializer if may_write else UpdateSerializer
        return self.get_paginated_response(serializer(page, many=True).data)

    @extend_schema(
        operation_id="incidents_updates_create",
        request=WrittenSerializer,
        responses={
            201: WrittenSerializer,
            (409, "application/problem+json"): OpenApiTypes.OBJECT,
        },
    )
    @updates.mapping.post
    def update_story(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Tell something new, now or later, or note it; RESOLVED ends the incident."""
        incident = self.get_object()
        self._refuse_discarded(incident)
        told = WrittenSerializer(data=request.data)
        told.is_valid(raise_exception=True)
        with transaction.atomic():
            locked = Incident.objects.select_for_update(no_key=True)
            current = locked.get(pk=incident.pk)
            refuse_stale(current, told.validated_data)
            written = _written(current, told.validated_data, author_of(request))
        return Response(WrittenSerializer(written).data, status.HTTP_201_CREATED)

    @extend_schema(operation_id="incidents_update", responses=WholeUpdateSerializer)
    @action(detail=True, url_path="updates/(?P<update>[0-9]+)", filterset_class=None)
    def one_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """An update with what it said before; for those who may write."""
        self._refuse_readers()
        return Response(WholeUpdateSerializer(self._update()).data)

    @extend_schema(
        operation_id="incidents_update_edit",
        request=EditSerializer,
        responses=WholeUpdateSerializer,
    )
    @one_update.mapping.patch
    def edit_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Say it otherwise; what it said is kept, and nobody gets a message."""
        update = self._update()
        said = EditSerializer(update, data=request.data, partial=True)
        said.is_valid(raise_exception=True)
        facts = dict(said.validated_data)
        update.edit(
            told_at=facts.pop("at", None),
            **facts,
            at=timezone.now(),
            author=author_of(request),
        )
        return Response(WholeUpdateSerializer(self._update()).data)

    @extend_schema(
        operation_id="incidents_update_delete",
        responses={204: None, (409, "application/problem+json"): OpenApiTypes.OBJECT},
    )
    @one_update.mapping.delete
    def take_update_back(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Tell it no longer; the state is that of the latest that is left."""
        update = self._update()
        if not update.take_back(at=timezone.now(), author=author_of(request)):
            raise Decided("This is the only update; delete the incident instead.")
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _update(self) -> IncidentUpdate:
        incident = self.get_object()
        self._refuse_discarded(incident)
        kept = IncidentUpdate.every.kept().select_related("incident")
        number = int(self.kwargs["update"])
        if number > MOST_NUMBER:
            raise NotFound
        return get_object_or_404(kept, incident=incident, pk=number)

    def _refuse_readers(self) -> None:
        if not may(self.request, "incidents:write"):
            raise PermissionDenied("This key lacks the scope incidents:write.")

    @extend_schema(
        operation_id="incidents_timeline", responses=TimelineSerializer(many=True)
    )
    @action(detail=True, filterset_class=None)
    def timeline(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Everything that happened to it, newest first; for those who may write."""
        self._refuse_readers()
        rows = self.get_object().timeline.order_by("-happened_at", "-pk")
        page: Iterable[TimelineEntry] = self.paginate_queryset(rows) or []
        return self.get_paginated_response(TimelineSerializer(page, many=True).data)

    @extend_schema(
        operation_id="incidents_export",
        parameters=[OpenApiParameter("as", enum=list(EXPORTS))],
        responses={
            (200, "text/markdown"): OpenApiTypes.STR,
            (200, "application/json"): OpenApiTypes.OBJECT,
            (200, "application/pdf"): OpenApiTypes.BINARY,
        },
    )
    @action(
        detail=True,
        filterset_class=None,
        pagination_class=None,
        renderer_classes=[JSONRenderer, MarkdownRenderer, PdfRenderer],
    )
    def export(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """The incident with its timeline, as `as` or Accept says; for who may write."""
        self._refuse_readers()
        accepted = request.accepted_renderer.format
        wanted = EXPORTS.get(request.query_params.get("as", accepted))
        if wanted is None:
            text = f"There is no such form; there are {', '.join(EXPORTS)}."
            raise ValidationError({"as": [text]})
        made = wanted.make(self.get_object())
        return HttpResponse(made, content_type=wanted.content_type)


def _written(
    incident: Incident, said: dict[str, Any], author: Author
) -> IncidentUpdate:
    """Write what was sent: a note, an update to come, or one to be told now."""
    is_note, waits = said.pop("is_internal", False), said.pop("publish_at", None)
    at = said.pop("at", timezone.now())
    if is_note:
        return incident.note(said["body"], at=at, author=author)
    if waits:
        return incident.schedule(**said, publish_at=waits, author=author)
    return incident.update(**said, at=at, author=author)


class UpdateTemplateViewSet(Listed, Created, Edited):
    """Templates of updates, by their names."""

    scope = "incidents"
    serializer_class = UpdateTemplateSerializer
    queryset = UpdateTemplate.objects.order_by("name")

    @transaction.atomic
    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete a template; what was written with it stays."""
        self.get_object().delete()
        return Response(status=status.HTTP_204_NO_CONTENT)
