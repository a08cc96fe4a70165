"""Merging, splitting, relating and restricting incidents, over the API."""

from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError as Refused
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import MOST_NUMBER, StrictSerializer, named
from monitors.models import Monitor

from . import merging
from .api import DECIDED, IncidentViewSet
from .models import Incident, Relation
from .serializers import (
    Decided,
    GroupsField,
    IncidentSerializer,
    WordsField,
    author_of,
)

KINDS = [(kind.lower(), label) for kind, label in Relation.Kind.choices]
REFUSED: Any = {(409, "application/problem+json"): OpenApiTypes.OBJECT}


def _number(**more: Any) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=1, max_value=MOST_NUMBER, **more)


class MergeSerializer(StrictSerializer):
    """Which incident tells of this one from now on."""

    into = _number(help_text="The number of the other incident.")
    body = WordsField(
        required=False,
        help_text="What the other one tells of it, in Markdown.",
    )


class SplitSerializer(StrictSerializer):
    """Which monitors get an incident of their own."""

    monitors = serializers.ListField(
        child=serializers.CharField(max_length=100), allow_empty=False, max_length=1000
    )
    title = serializers.CharField(max_length=255)
    summary = WordsField()

    def validate_monitors(self, tags: list[str]) -> list[Monitor]:
        return [*named(Monitor.objects.current(), "tag", tags).values()]


class RelationSerializer(StrictSerializer):
    """What an incident has to do with another."""

    incident = _number(source="other_id", help_text="The number of the other one.")
    kind = serializers.ChoiceField(choices=KINDS)


class ShownRelationSerializer(RelationSerializer):
    """The same, as either of the two sees it."""

    kind = serializers.ChoiceField(choices=[*KINDS, ("duplicated_by", "Duplicated by")])


class RestrictSerializer(StrictSerializer):
    """Who alone may see an incident; nobody in particular makes it a draft."""

    groups: Any = GroupsField()


class RelatedIncidentViewSet(IncidentViewSet):
    __doc__ = IncidentViewSet.__doc__

    @extend_schema(request=MergeSerializer, responses=DECIDED)
    @action(detail=True, methods=["post"], filterset_class=None)
    def merge(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make it part of another one, which is answered. Again does nothing."""
        incident, said = self.get_object(), _said(MergeSerializer, request)
        into = self._other(said["into"], "into")
        try:
            merging.merge(
                incident,
                into,
                at=timezone.now(),
                author=author_of(request),
                body=said.get("body", ""),
            )
        except Refused as error:
            raise Decided(" ".join(error.messages)) from error
        return Response(self.shown(self._anew(into)))

    @extend_schema(
        request=SplitSerializer, responses={201: IncidentSerializer, **REFUSED}
    )
    @action(detail=True, methods=["post"], filterset_class=None)
    def split(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Give some of its monitors an incident of their own, which is answered."""
        incident = self.get_object()
        self._refuse_discarded(incident)
        said = _said(SplitSerializer, request)
        made = merging.split(
            incident, **said, at=timezone.now(), author=author_of(request)
        )
        return Response(self.shown(self._anew(made)), status.HTTP_201_CREATED)

    @extend_schema(
        operation_id="incidents_relations_list",
        responses=ShownRelationSerializer(many=True),
    )
    @action(detail=True, filterset_class=None, pagination_class=None)
    def relations(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What it is a duplicate of, or related to, and what is so to it."""
        return Response(self._relations(self.get_object()))

    @extend_schema(
        operation_id="incidents_relations_create",
        request=RelationSerializer,
        responses={201: ShownRelationSerializer(many=True)},
    )
    @relations.mapping.post
    def relate(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Relate it to another, or change how. Again does nothing."""
        incident, said = self.get_object(), _said(RelationSerializer, request)
        other = self._other(said["other_id"], "incident")
        merging.relate(
            incident,
            other,
            said["kind"].upper(),
            at=timezone.now(),
            author=author_of(request),
        )
        return Response(self._relations(incident), status.HTTP_201_CREATED)

    @extend_schema(operation_id="incidents_relations_delete", responses={204: None})
    @action(
        detail=True,
        methods=["delete"],
        url_path="relations/(?P<other>[0-9]+)",
        filterset_class=None,
    )
    def unrelate(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Take the relation back."""
        incident, other = self.get_object(), int(self.kwargs["other"])
        found = self.get_queryset().filter(pk=other) if other <= MOST_NUMBER else None
        known = found.first() if found is not None else None
        now, author = timezone.now(), author_of(request)
        if known is None or not merging.unrelate(
            incident, known, at=now, author=author
        ):
            raise NotFound("There is no such relation.")
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=RestrictSerializer, responses=DECIDED)
    @action(detail=True, methods=["post"], filterset_class=None)
    def restrict(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Let some groups alone see a draft; without any, make it a draft again."""
        incident, said = self.get_object(), _said(RestrictSerializer, request)
        groups: list[Group] = said["groups"]
        now = timezone.now()
        if not incident.restrict(groups, at=now, author=author_of(request)):
            raise Decided("It is public, or was withdrawn; it cannot be hidden.")
        return Response(self.shown(incident))

    def _other(self, number: int, field: str) -> Incident:
        """Another incident that the caller may see."""
        found = self.get_queryset().filter(pk=number).first()
        if found is None:
            raise ValidationError({field: [f"There is no incident {number}."]})
        return found

    def _anew(self, incident: Incident) -> Incident:
        return self.get_queryset().get(pk=incident.pk)

    def _relations(self, incident: Incident) -> list[dict[str, Any]]:
        """Those it has with incidents that the caller may see, either way."""
        found = Relation.objects.of(incident, self.get_queryset())
        return [_shown(relation, incident) for relation in found]


def _shown(relation: Relation, incident: Incident) -> dict[str, Any]:
    is_ours = relation.is_noted_with(incident)
    other = relation.other_id if is_ours else relation.incident_id
    kind = relation.kind.lower()
    if not is_ours and relation.kind == Relation.Kind.DUPLICATE:
        kind = "duplicated_by"
    return {"incident": other, "kind": kind}


def _said(serializer: type[serializers.Serializer], request: Request) -> dict[str, Any]:
    said = serializer(data=request.data)
    said.is_valid(raise_exception=True)
    return dict(said.validated_data)
