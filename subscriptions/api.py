from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django_filters import filters
from django_filters.rest_framework import FilterSet
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import Created, Listed, StrictModelSerializer

from .models import Subscriber


class SubscriberSerializer(StrictModelSerializer):
    # Not unique here: whoever adds an address twice wants what is already so.
    email = serializers.EmailField(max_length=254)

    class Meta:
        model = Subscriber
        fields = [
            "id",
            "email",
            "state",
            "created_at",
            "confirmed_at",
            "unsubscribed_at",
        ]
        read_only_fields = ["state", "created_at", "confirmed_at", "unsubscribed_at"]

    def create(self, validated_data: dict[str, Any]) -> Subscriber:
        return Subscriber.add(validated_data["email"], at=timezone.now())


class SubscriberFilters(FilterSet):
    state = filters.ChoiceFilter(choices=Subscriber.State.choices)
    email = filters.CharFilter(method="at_address")

    class Meta:
        model = Subscriber
        fields: list[str] = []

    def at_address(
        self, queryset: QuerySet[Subscriber], name: str, email: str
    ) -> QuerySet[Subscriber]:
        return queryset.filter(email=Subscriber.normal(email))


class SubscriberViewSet(Listed, Created):
    """Addresses that hear of incidents. Added here they need no confirming."""

    scope = "subscribers"
    serializer_class = SubscriberSerializer
    filterset_class = SubscriberFilters
    queryset = Subscriber.objects.order_by("-pk")

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Unsubscribe the address: it is sent no more, not even what is queued."""
        self.get_object().unsubscribe(at=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)
