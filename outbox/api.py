from datetime import datetime
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils import timezone
from django_filters import filters
from django_filters.rest_framework import FilterSet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import (
    MOST_NUMBER,
    ConfigField,
    Created,
    Edited,
    KindSerializer,
    Listed,
    StrictSerializer,
)

from .channels import CHANNELS
from .models import (
    Attempt,
    Circuit,
    Message,
    MessageQuerySet,
    Trigger,
    kind_choices,
)
from .trial import send_test


class CircuitSerializer(serializers.Serializer):
    """Whether the destination answers; if not, since when, and when it is next tried."""

    state = serializers.ChoiceField(choices=Circuit.State.choices, read_only=True)
    since = serializers.DateTimeField(read_only=True, allow_null=True)
    retry_at = serializers.DateTimeField(read_only=True, allow_null=True)
    last_answer = serializers.CharField(read_only=True)


class TriggerSerializer(KindSerializer):
    config = ConfigField(kinds=CHANNELS)
    circuit = serializers.SerializerMethodField()

    class Meta:
        model = Trigger
        fields = [
            "id",
            "name",
            "kind",
            "config",
            "is_active",
            "most_a_minute",
            "circuit",
            "created_at",
        ]
        read_only_fields = ["created_at"]

    @extend_schema_field(CircuitSerializer)
    def get_circuit(self, trigger: Trigger) -> dict[str, Any]:
        return shown_circuit(trigger.breaker, timezone.now())


def shown_circuit(circuit: Circuit | None, at: datetime) -> dict[str, Any]:
    """What is said of a circuit; one that is closed may be asked to wait, too."""
    if circuit is None:
        circuit = Circuit()
    is_held = circuit.resumes_at is not None and circuit.resumes_at > at
    is_told = circuit.is_open or is_held
    return CircuitSerializer(
        {
            "state": circuit.state_at(at),
            "since": circuit.since if circuit.is_open else None,
            "retry_at": circuit.resumes_at if is_told else None,
            "last_answer": circuit.last_answer if is_told else "",
        }
    ).data


class StepSerializer(serializers.Serializer):
    what = serializers.CharField(read_only=True)
    delivered = serializers.BooleanField(read_only=True)
    answer = serializers.CharField(read_only=True)


class TestedSerializer(serializers.Serializer):
    """Whether all was delivered, and the last answer; `steps` has each message."""

    delivered = serializers.BooleanField(read_only=True)
    answer = serializers.CharField(read_only=True)
    steps = StepSerializer(many=True, read_only=True)


class SecretSerializer(serializers.Serializer):
    secret = serializers.CharField(read_only=True)


class TriggerViewSet(Listed, Created, Edited):
    """Destinations of alert notices. Secrets are read back as ***."""

    scope = "alerting"
    serializer_class = TriggerSerializer
    queryset = Trigger.objects.order_by("pk").select_related("circuit")

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete the trigger; what is queued for it is not sent any more."""
        self.get_object().delete()
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        operation_id="triggers_test", request=None, responses=TestedSerializer
    )
    @action(detail=True, methods=["post"])
    def test(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Send an alert that triggers and resolves, marked as a test, and tell the answers."""
        steps = send_test(self.get_object(), at=timezone.now())
        tested = {
            "delivered": all(step.delivered for step in steps),
            "answer": steps[-1].answer,
            "steps": [step._asdict() for step in steps],
        }
        return Response(tested)

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
    request = serializers.DictField(read_only=True)

    class Meta:
        model = Attempt
        fields = [
            "number",
            "started_at",
            "finished_at",
            "is_success",
            "request",
            "answer",
        ]
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
            "reference",
            "dismissed_at",
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


class ReplaySerializer(StrictSerializer):
    """Which messages to send again: those that fit all that is given."""

    NAMES: ClassVar = {"topic": "topic_key", "recipient": "recipient_key"}

    ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=MOST_NUMBER),
        required=False,
        allow_empty=False,
        max_length=500,
        write_only=True,
    )
    state = serializers.ChoiceField(
        choices=Message.State.choices, required=False, write_only=True
    )
    kind = serializers.ChoiceField(
        choices=kind_choices(), required=False, write_only=True
    )
    trigger = serializers.IntegerField(
        min_value=1, max_value=MOST_NUMBER, required=False, write_only=True
    )
    topic = serializers.CharField(required=False, write_only=True)
    recipient = serializers.CharField(required=False, write_only=True)
    replayed = serializers.IntegerField(read_only=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise ValidationError("Say which: give at least one of the filters.")
        return attrs

    def found(self) -> MessageQuerySet:
        given: dict[str, Any] = {**self.validated_data}
        ids = given.pop("ids", None)
        found = Message.objects.filter(
            **{self.NAMES.get(name, name): value for name, value in given.items()}
        )
        return found if ids is None else found.filter(pk__in=ids)


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

    @extend_schema(
        operation_id="messages_replay_many",
        request=ReplaySerializer,
        responses=ReplaySerializer,
    )
    @action(
        detail=False,
        methods=["post"],
        url_path="replay",
        serializer_class=ReplaySerializer,
    )
    def replay_many(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Send once more, under their keys, all that fit; 10,000 at the most.

        Those that still wait are left as they are.
        """
        wanted = ReplaySerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        replayed = wanted.found().replay(at=timezone.now())
        return Response({"replayed": replayed})
