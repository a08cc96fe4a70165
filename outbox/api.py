from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django_filters import filters
from django_filters.rest_framework import FilterSet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import (
    ConfigField,
    Created,
    Edited,
    KindSerializer,
    Listed,
)

from .channels import CHANNELS
from .delivery import send_test
from .models import Attempt, Message, Trigger


class TriggerSerializer(KindSerializer):
    config = ConfigField(kinds=CHANNELS)

    class Meta:
        model = Trigger
        fields = ["id", "name", "kind", "config", "is_active", "created_at"]
        read_only_fields = ["created_at"]


class TestedSerializer(serializers.Serializer):
    delivered = serializers.BooleanField(read_only=True)
    answer = serializers.CharField(read_only=True)


class SecretSerializer(serializers.Serializer):
    secret = serializers.CharField(read_only=True)


class TriggerViewSet(Listed, Created, Edited):
    """Destinations of alert notices. Secrets are read back as ***."""

    scope = "alerting"
    serializer_class = TriggerSerializer
    queryset = Trigger.objects.order_by("pk")

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete the trigger; what is queued for it is not sent any more."""
        self.get_object().delete()
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        operation_id="triggers_test", request=None, responses=TestedSerializer
    )
    @action(detail=True, methods=["post"])
    def test(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Send a message that says it is a test, now, and tell what was answered."""
        delivered, answer = send_test(self.get_object(), at=timezone.now())
        return Response({"delivered": delivered, "answer": answer})

    @extend_schema(
        operation_id="triggers_secret", request=None, responses=SecretSerializer
    )
    @action(detail=True, methods=["post"])
    def secret(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Show the secret that signs what is sent; empty if nothing is signed.

        A POST, since it takes the scope that may change triggers.
        """
        return Response({"secret": self.get_object().config.get("secret", "")})


class AttemptSerializer(serializers.ModelSerializer):
    class Meta:
        model = Attempt
        fields = ["number", "started_at", "finished_at", "is_success", "answer"]
        read_only_fields = fields


class MessageSerializer(serializers.ModelSerializer):
    """A message of the outbox. `values` are what its content is made from."""

    topic = serializers.CharField(source="topic_key", read_only=True)
    recipient = serializers.CharField(source="recipient_key", read_only=True)
    destination = serializers.SerializerMethodField()
    values = serializers.DictField(read_only=True)
    log = AttemptSerializer(many=True, read_only=True)

    class Meta:
        model = Message
        fields = [
            "id",
            "key",
            "kind",
            "destination",
            "trigger",
            "topic",
            "recipient",
            "state",
            "attempts",
            "created_at",
            "due_at",
            "finished_at",
            "last_answer",
            "values",
            "log",
        ]
        read_only_fields = fields

    def get_destination(self, message: Message) -> str:
        """The address, or the name of the trigger that knows it."""
        return message.destination or (message.trigger.name if message.trigger else "")


class MessageFilters(FilterSet):
    state = filters.ChoiceFilter(choices=Message.State.choices)
    kind = filters.ChoiceFilter(choices=[(kind, kind) for kind in CHANNELS])
    topic = filters.CharFilter(field_name="topic_key", help_text="Such as incident:7")
    recipient = filters.CharFilter(
        field_name="recipient_key", help_text="Such as subscriber:7"
    )

    class Meta:
        model = Message
        fields = ["trigger"]


class MessageViewSet(Listed):
    """The outbox, newest first."""

    scope = "messages"
    serializer_class = MessageSerializer
    filterset_class = MessageFilters
    queryset = Message.objects.order_by("-pk")

    def get_queryset(self) -> QuerySet[Message]:
        # The trigger's config stays encrypted: nothing of it is shown.
        related = super().get_queryset().select_related("trigger")
        return related.defer("trigger__config").prefetch_related("log")

    @extend_schema(operation_id="messages_replay", request=None)
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Send it once more under the same key; one still waiting is left as it is."""
        message = self.get_object()
        message.replay(at=timezone.now())
        return Response(self.shown(message))
