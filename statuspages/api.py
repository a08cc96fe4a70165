"""On which pages an incident shows, over the API."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import RelatedField, StrictSerializer
from incidents.api import IncidentViewSet
from incidents.models import Incident
from incidents.serializers import author_of

from .models import PageIncident, StatusPage


class PagesSerializer(StrictSerializer):
    """The pages an incident shows on; without any, it is all that it concerns."""

    instead = {"is_global": "Give no pages for all that it concerns."}
    pages = RelatedField(
        queryset=StatusPage.objects.all(),
        key="slug",
        child=serializers.CharField(max_length=50),
        max_length=100,
        help_text="By their slugs.",
    )
    is_global = serializers.BooleanField(
        read_only=True,
        help_text="False with no pages if those that were chosen are gone.",
    )


class IncidentPagesViewSet(IncidentViewSet):
    """The pages of one incident; who may not see it may not ask either."""

    http_method_names = ["get", "head", "put"]

    def get_queryset(self) -> QuerySet[Incident]:
        return super().get_queryset().prefetch_related(None)

    @extend_schema(operation_id="incidents_pages", responses=PagesSerializer)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Read on which pages it shows."""
        return Response(_pages_of(self.get_object()))

    @extend_schema(
        operation_id="incidents_pages_choose",
        request=PagesSerializer,
        responses={
            200: PagesSerializer,
            (409, "application/problem+json"): OpenApiTypes.OBJECT,
        },
    )
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Choose the pages it shows on; it shows on no other."""
        incident = self.get_object()
        self._refuse_discarded(incident)
        said = PagesSerializer(data=request.data)
        said.is_valid(raise_exception=True)
        pages = said.validated_data["pages"]
        author = author_of(request)
        PageIncident.choose(incident, pages, at=timezone.now(), author=author)
        return Response(_pages_of(incident))


def _pages_of(incident: Incident) -> Any:
    chosen = StatusPage.objects.filter(chosen_for__incident=incident)
    is_global = not PageIncident.objects.filter(incident=incident).exists()
    return PagesSerializer({"pages": chosen, "is_global": is_global}).data
