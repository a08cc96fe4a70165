"""Incidents and what is told of them, as the API writes and reads them."""

from datetime import datetime
from typing import Any

from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError as Unfit
from django.utils import timezone
from rest_framework import serializers, status
from rest_framework.exceptions import (
    APIException,
    ValidationError,
)
from rest_framework.request import Request

from access.api import (
    MOST_NUMBER,
    PastField,
    RelatedField,
    StrictModelSerializer,
    StrictSerializer,
    named,
)
from access.models import ApiKey
from monitors.api import SeverityField
from monitors.labels_api import LabelsField
from monitors.models import Monitor

from . import titles
from .models import (
    Author,
    Impact,
    Incident,
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


class WordsField(serializers.CharField):
    """Markdown of which something is seen."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 20_000, **kwargs})

    def to_internal_value(self, data: Any) -> str:
        body: str = super().to_internal_value(data)
        try:
            IncidentUpdate(body=body).clean()
        except Unfit as error:
            raise ValidationError(error.messages) from error
        return body


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
    body = WordsField()
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
        if attrs.get("state") == State.RESOLVED and any(
            attrs.get("impacts", {}).values()
        ):
            text = "When it is resolved, nothing is affected any more."
            raise ValidationError({"impacts": [text]})
        if waits and "at" in attrs:
            raise ValidationError({"at": ["It is told at publish_at."]})
        return super().validate(attrs)


class EditSerializer(UpdateSerializer):
    """What an update is to say instead."""

    class Meta(UpdateSerializer.Meta):
        fields = ["state", "body", "at"]
        read_only_fields: list[str] = []

    def validate_at(self, at: datetime) -> datetime:
        if self.instance and self.instance.publish_at:
            raise ValidationError("It is told at publish_at.")
        return at


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

    def validate_title(self, title: str) -> str:
        return titles.one_line(title)

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

    summary = WordsField(write_only=True)
    started_at = PastField()
    ended_at = PastField(required=False, allow_null=True)
    closing = WordsField(
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


class Decided(APIException):
    """What was asked for is not possible any more."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "decided"


def author_of(request: Request) -> Author:
    if isinstance(request.auth, ApiKey):
        return request.auth.name
    return request.user if isinstance(request.user, User) else None
