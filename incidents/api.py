from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AnonymousUser, Group, User
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
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import (
    APIException,
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
    PastField,
    RelatedField,
    StrictModelSerializer,
    StrictSerializer,
    TrueFalseFilter,
    named,
)
from access.models import ApiKey
from access.permissions import may
from monitors.api import SeverityField
from monitors.labels_api import LabelsField
from monitors.models import Monitor

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
    UpdateVersion,
)

READ_ONLY = [
    *("state", "source", "badge", "ended_at", "publish_at", "discarded_at"),
    *("next_update_at", "merged_into", "is_private"),
]


class ImpactList(serializers.ListSerializer):
    def get_attribute(self, instance: Incident) -> list[Impact]:
        return impacts_told(instance)


def impacts_told(incident: Incident) -> list[Impact]:
    """What it does to monitors now or, once it has ended, did to each last."""
    told = {
        impact.monitor_id: impact
        for impact in incident.impacts.all()
        if impact.ended_at is None or not incident.is_open
    }
    return list(told.values())


class OwnerField(serializers.SlugRelatedField):
    """An operator, by name; an empty name is nobody's."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data == "":
            self.fail("does_not_exist", value=data)
        return super().run_validation(data)


class GroupsField(RelatedField):
    """Groups of operators by their names."""

    def __init__(self, **kwargs: Any) -> None:
        given = {"queryset": Group.objects.all(), "key": "name", "max_length": 100}
        super().__init__(
            **{"child": serializers.CharField(max_length=150), **given, **kwargs}
        )


class ImpactSerializer(StrictSerializer):
    """A monitor, by its tag, and what the incident does to it."""

    tag = serializers.CharField(source="monitor.tag", max_length=100)
    impact = serializers.ChoiceField(source="level", choices=Impact.Level.choices)

    class Meta:
        list_serializer_class = ImpactList

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Want both, also where the incident itself is given only in part."""
        missing = {"tag": "monitor", "impact": "level"}
        text = "This field is required."
        errors = {n: [text] for n, source in missing.items() if source not in attrs}
        if errors:
            raise ValidationError(errors)
        return attrs


class UpdateSerializer(StrictModelSerializer):
    """One entry of the story. `body` is Markdown; the latest `at` makes the state."""

    instead = {"edited_at": "It is set when the update is changed."}
    state = serializers.ChoiceField(choices=State.choices)
    body = serializers.CharField(max_length=20_000)
    at = PastField(required=False, help_text="Now, unless given.")

    class Meta:
        model = IncidentUpdate
        fields = ["id", "state", "body", "at", "edited_at"]
        read_only_fields = ["edited_at"]


class WrittenSerializer(UpdateSerializer):
    """An update as those see it who may write them."""

    state = serializers.ChoiceField(
        choices=State.choices,
        required=False,
        help_text="To be given, unless it is an internal note.",
    )
    is_internal = serializers.BooleanField(
        required=False, help_text="A note that nobody outside ever sees."
    )
    notifies = serializers.BooleanField(
        required=False,
        help_text="Whether subscribers get a message; true unless given.",
    )
    publish_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="To be told at a moment to come."
    )

    next_update_at = serializers.DateTimeField(
        required=False, write_only=True, help_text="By when more is promised."
    )

    impacts = serializers.DictField(
        child=serializers.ChoiceField(choices=Impact.Level.choices, allow_null=True),
        required=False,
        write_only=True,
        help_text="Changes by the tag of the monitor; null spares it.",
    )

    version = serializers.IntegerField(
        required=False,
        write_only=True,
        min_value=0,
        max_value=MOST_NUMBER,
        help_text="That of the incident; refused if it has changed since.",
    )

    class Meta(UpdateSerializer.Meta):
        fields = [
            *UpdateSerializer.Meta.fields,
            "version",
            "is_internal",
            "notifies",
            "publish_at",
            "next_update_at",
            "impacts",
            "written_by",
        ]
        read_only_fields = ["edited_at", "written_by"]

    def validate_next_update_at(self, at: datetime) -> datetime:
        if at <= timezone.now():
            raise ValidationError("This moment has passed.")
        return at

    def validate_impacts(self, levels: dict[str, str | None]) -> dict[Monitor, str]:
        found = named(Monitor.objects.current(), "tag", list(levels))
        return {monitor: levels[tag] or "" for tag, monitor in found.items()}

    def validate_publish_at(self, at: datetime | None) -> datetime | None:
        if at and at <= timezone.now():
            raise ValidationError("This moment has passed; leave it out to tell now.")
        return at

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        is_note, waits = attrs.get("is_internal"), attrs.get("publish_at")
        promise = attrs.get("next_update_at")
        if not self.instance and not is_note and "state" not in attrs:
            raise ValidationError({"state": ["This field is required."]})
        if is_note and (waits or "state" in attrs):
            text = "An internal note is written now, and is of no consequence."
            raise ValidationError({"is_internal": [text]})
        if promise and (is_note or attrs.get("state") == State.RESOLVED):
            text = "Only an update that is told and ends nothing can promise more."
            raise ValidationError({"next_update_at": [text]})
        if promise and waits and promise <= waits:
            raise ValidationError({"next_update_at": ["It is told later than that."]})
        if is_note and "impacts" in attrs:
            text = "Only an update that is told can change them."
            raise ValidationError({"impacts": [text]})
        if waits and "at" in attrs:
            raise ValidationError({"at": ["It is told at publish_at."]})
        return super().validate(attrs)


class EditSerializer(UpdateSerializer):
    """What an update is to say instead."""

    class Meta(UpdateSerializer.Meta):
        fields = ["state", "body", "at"]
        read_only_fields: list[str] = []


class VersionSerializer(StrictModelSerializer):
    class Meta:
        model = UpdateVersion
        fields = ["state", "body", "at", "replaced_at", "replaced_by"]


class WholeUpdateSerializer(WrittenSerializer):
    """An update, and what it said before it was edited."""

    versions = VersionSerializer(many=True, read_only=True)

    class Meta(WrittenSerializer.Meta):
        fields = [*WrittenSerializer.Meta.fields, "versions"]


class TimelineSerializer(StrictModelSerializer):
    """One thing that happened to an incident; never changed."""

    facts = serializers.DictField(help_text="Names and values as they were then.")

    class Meta:
        model = TimelineEntry
        fields = [
            "id",
            "happened_at",
            "recorded_at",
            "kind",
            "actor",
            "text",
            "facts",
        ]


class UpdateTemplateSerializer(StrictModelSerializer):
    """Words for an update that are kept ready."""

    state = serializers.ChoiceField(choices=State.choices, required=False)
    body = serializers.CharField(max_length=20_000)

    class Meta:
        model = UpdateTemplate
        fields = ["id", "name", "state", "body"]


class IncidentSerializer(StrictModelSerializer):
    """What people are told. `summary` becomes the first update."""

    instead = {
        "state": "Write an update to change it.",
        "ended_at": "Write an update that resolves it.",
        "updates": "Write to updates/.",
        "next_update_at": "Promise it with an update.",
        "source": "Incidents written here come from the API.",
        "is_draft": "Post to publish/ to make a draft public.",
        "publish_at": "Post to hold/ to stop the countdown.",
        "discarded_at": "Post to discard/.",
        "merged_into": "Post to merge/.",
        "is_private": "Post the groups that are to see it to restrict/.",
    }
    severity = SeverityField(required=False)
    started_at = PastField(required=False)
    monitors = ImpactSerializer(many=True, required=False)
    owner = OwnerField(
        slug_field="username",
        queryset=User.objects.filter(is_staff=True, is_active=True),
        required=False,
        allow_null=True,
        help_text="An operator's name.",
        error_messages={"does_not_exist": "There is no operator {value}."},
    )
    version = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=MOST_NUMBER,
        help_text="Counts every change. Given, it has to be that of now.",
    )
    labels = LabelsField(required=False)
    updates = UpdateSerializer(many=True, read_only=True)
    next_update_at = serializers.DateTimeField(
        source="promised_at",
        read_only=True,
        allow_null=True,
        help_text="By when more is promised.",
    )
    is_draft = serializers.BooleanField(
        read_only=True, help_text="Not public, and still to be decided about."
    )

    class Meta:
        model = Incident
        fields = [
            "id",
            "title",
            "state",
            "severity",
            "source",
            "badge",
            "started_at",
            "ended_at",
            "next_update_at",
            "is_draft",
            "publish_at",
            "discarded_at",
            "merged_into",
            "is_private",
            "url",
            "version",
            "owner",
            "labels",
            "monitors",
            "updates",
        ]
        read_only_fields = READ_ONLY

    def validate_started_at(self, at: datetime) -> datetime:
        if self.instance and self.instance.ended_at and at > self.instance.ended_at:
            raise ValidationError("It had ended by then.")
        return at

    def validate_monitors(self, told: list[dict[str, Any]]) -> dict[Monitor, str]:
        levels = {item["monitor"]["tag"]: item["level"] for item in told}
        if len(levels) < len(told):
            raise ValidationError("Name each monitor once.")
        if self.instance and not self.instance.is_open:
            raise ValidationError("It is resolved; write an update to reopen it first.")
        found = named(Monitor.objects.current(), "tag", list(levels))
        return {monitor: levels[tag] for tag, monitor in found.items()}

    def update(self, instance: Incident, validated_data: dict[str, Any]) -> Incident:
        refuse_stale(instance, validated_data)
        impacts = validated_data.pop("monitors", None)
        author = author_of(self.context["request"])
        instance.revise(
            **validated_data, impacts=impacts, author=author, at=timezone.now()
        )
        return instance


class NewIncidentSerializer(IncidentSerializer):
    """With `ended_at` it is entered afterwards, and nobody gets a message."""

    summary = serializers.CharField(max_length=20_000, write_only=True)
    started_at = PastField()
    ended_at = PastField(required=False, allow_null=True)
    closing = serializers.CharField(
        max_length=20_000,
        write_only=True,
        required=False,
        help_text="The words of the last update of one that is over.",
    )
    notifies = serializers.BooleanField(
        write_only=True,
        required=False,
        help_text="Whether subscribers get a message; true unless given.",
    )
    draft = serializers.BooleanField(
        source="is_draft",
        write_only=True,
        required=False,
        help_text="Whether it waits to be published; false unless given.",
    )
    groups = GroupsField(
        write_only=True,
        required=False,
        help_text="The groups that alone see it, by their names: it is private.",
    )
    version = serializers.IntegerField(read_only=True)

    class Meta(IncidentSerializer.Meta):
        fields = [
            *IncidentSerializer.Meta.fields,
            *("summary", "closing", "notifies", "draft", "groups"),
        ]
        read_only_fields = [name for name in READ_ONLY if name != "ended_at"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        ended = attrs.get("ended_at")
        if ended and ended < attrs["started_at"]:
            raise ValidationError({"ended_at": ["It had not begun by then."]})
        if "closing" in attrs and not ended:
            text = "Only what is over has a last update; give ended_at."
            raise ValidationError({"closing": [text]})
        return super().validate(attrs)

    def create(self, validated_data: dict[str, Any]) -> Incident:
        impacts = validated_data.pop("monitors", None)
        given = {n: validated_data.pop(n, None) for n in ("owner", "labels")}
        return Incident.open(
            **validated_data,
            **given,
            impacts=impacts,
            source=Incident.Source.API,
            author=author_of(self.context["request"]),
            at=timezone.now(),
        )


class DiscardSerializer(StrictSerializer):
    """Why a draft is never to be published."""

    reason = serializers.CharField(required=False, allow_blank=True, max_length=200)


def refuse_stale(incident: Incident, said: dict[str, Any]) -> None:
    """Take the version out of what was sent, and refuse it if it is not that of now."""
    version = said.pop("version", incident.version)
    if version != incident.version:
        raise Decided(
            f"The incident has changed since version {version}; it is "
            f"{incident.version} now. Nothing was written: read it, then write again."
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


class Decided(APIException):
    """What was asked for is not possible any more."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "decided"


DECIDED: Any = {
    200: IncidentSerializer,
    (409, "application/problem+json"): OpenApiTypes.OBJECT,
}


def _behind(request: Request) -> User | AnonymousUser:
    """Who sees what a request asks for: the operator, or who made the key."""
    if isinstance(request.auth, ApiKey):
        return request.auth.created_by or AnonymousUser()
    return request.user


def author_of(request: Request) -> Author:
    if isinstance(request.auth, ApiKey):
        return request.auth.name
    return request.user if isinstance(request.user, User) else None


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
        return Response(self.shown(incident))

    @extend_schema(request=None, responses=DECIDED)
    @action(detail=True, methods=["post"], filterset_class=None)
    def hold(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Stop the countdown of a draft. Again does nothing."""
        incident = self.get_object()
        incident.hold(at=timezone.now(), author=author_of(request))
        self._refuse_discarded(incident)
        self._refuse_public(incident)
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
        return Response(self.shown(incident))

    def _refuse_discarded(self, incident: Incident) -> None:
        if incident.discarded_at:
            raise Decided(why_discarded(incident))

    def _refuse_public(self, incident: Incident) -> None:
        if incident.published_at:
            raise Decided("This incident is public; delete it, or resolve it.")

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
