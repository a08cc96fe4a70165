"""What the API of every app is made of: strict serializers and one kind of view."""

import copy
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import models, transaction
from django.utils import timezone
from django_filters import filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from egress.kinds import masked, unmasked

MOST_NUMBER = 2**63 - 1


class StrictSerializer(serializers.Serializer):
    """Refuses, by its name, what it does not know or what nobody may set."""

    # What to do instead of writing a field that is read-only.
    instead: ClassVar[Mapping[str, str]] = {}

    def to_internal_value(self, data: Any) -> Any:
        refused = self._refused(data) if isinstance(data, Mapping) else {}
        try:
            accepted = super().to_internal_value(data)
        except ValidationError as error:
            if isinstance(error.detail, dict):
                raise ValidationError({**error.detail, **refused}) from error
            raise
        if refused:
            raise ValidationError(refused)
        return accepted

    def _refused(self, data: Mapping[str, Any]) -> dict[str, list[str]]:
        writable = [name for name, field in self.fields.items() if not field.read_only]
        refused = {}
        for name in data:
            if name not in self.fields:
                known = ", ".join(writable)
                refused[name] = [f"There is no such field; there are {known}."]
            elif name not in writable:
                instead = self.instead.get(name, "")
                refused[name] = [f"This field is read-only. {instead}".strip()]
            elif data[name] is not None and (why := _mistyped(self.fields[name], data)):
                refused[name] = [why]
        return refused


def _mistyped(field: serializers.Field, data: Mapping[str, Any]) -> str:
    """Say what JSON should have been given; "5" is no number and 5 no text."""
    value = data[str(field.field_name)]
    if isinstance(field, serializers.CharField) and not isinstance(value, str):
        return "Give a text."
    if isinstance(field, serializers.BooleanField) and not isinstance(value, bool):
        return "Give true or false."
    if isinstance(field, serializers.IntegerField) and (
        isinstance(value, bool) or not isinstance(value, int | float)
    ):
        return "Give a whole number."
    return ""


class StrictModelSerializer(StrictSerializer, serializers.ModelSerializer):
    """Lets the model's own clean() judge, so that API and admin say the same."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        model: type[models.Model] = self.Meta.model
        candidate = copy.copy(self.instance) if self.instance else model()
        own = {field.attname for field in model._meta.concrete_fields}
        for name in own & attrs.keys():
            setattr(candidate, name, attrs[name])
        try:
            candidate.clean()
        except DjangoValidationError as error:
            raise ValidationError(self._by_field(error)) from error
        return {n: getattr(candidate, n) if n in own else v for n, v in attrs.items()}

    def _by_field(self, error: DjangoValidationError) -> dict[str, Any]:
        return serializers.as_serializer_error(error)


class ConfigField(serializers.DictField):
    """The config of something that has a kind; `kinds` are those there are."""

    def __init__(self, *, kinds: Mapping[str, type], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kinds = kinds


class KindSerializer(StrictModelSerializer):
    """Something with a kind and a config. Secrets are read as ***, and *** keeps them.

    A config is always given as a whole, and answered with its defaults.
    """

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        kind = attrs.get("kind", getattr(self.instance, "kind", ""))
        known = self._kinds.get(kind)
        if known is None or not attrs.keys() & {"kind", "config"}:
            return super().validate(attrs)
        stored = {}
        if self.instance and self.instance.kind == kind:
            stored = self.instance.config
        config = attrs.get("config", stored)
        attrs = {**attrs, "config": unmasked(known, config, stored)}
        return super().validate(attrs)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown = super().to_representation(instance)
        shown["config"] = masked(self._kinds.get(instance.kind), instance.config)
        return shown

    def _by_field(self, error: DjangoValidationError) -> dict[str, Any]:
        """Take the option a message begins with out of it: config → option → text."""
        found = super()._by_field(error)
        options: dict[str, list[str]] = {}
        for message in found.pop("config", []):
            option, _, text = str(message).partition(": ")
            options.setdefault(option, []).append(text)
        return {**found, **({"config": options} if options else {})}

    @property
    def _kinds(self) -> Mapping[str, type]:
        field = self.fields["config"]
        return field.kinds if isinstance(field, ConfigField) else {}


class RelatedField(serializers.ListField):
    """Other rows, each by its key; read and written in one query."""

    def __init__(self, *, queryset: models.QuerySet[Any], key: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.queryset, self.key = queryset, key

    def to_internal_value(self, data: Any) -> list[Any]:
        keys = list(dict.fromkeys(super().to_internal_value(data)))
        return list(named(self.queryset.all(), self.key, keys).values())

    def to_representation(self, data: Any) -> list[Any]:
        return [getattr(row, self.key) for row in data.all()]


def named(queryset: models.QuerySet[Any], key: str, keys: list[Any]) -> dict[Any, Any]:
    """Return the row of each key, in their order; refuse those that there are not."""
    rows = {getattr(row, key): row for row in queryset.filter(**{f"{key}__in": keys})}
    if missing := [str(wanted) for wanted in keys if wanted not in rows]:
        noun = queryset.model._meta.verbose_name
        raise ValidationError(f"There is no {noun} {', '.join(missing)}.")
    return {wanted: rows[wanted] for wanted in keys}


@extend_schema_field(OpenApiTypes.BOOL)
class TrueFalseFilter(filters.TypedChoiceFilter):
    """A filter that refuses what is neither true nor false."""

    def __init__(self, **kwargs: Any) -> None:
        choices = [("true", "true"), ("false", "false")]
        super().__init__(choices=choices, coerce=lambda v: v == "true", **kwargs)


class PastField(serializers.DateTimeField):
    """A moment that has been. Without an offset it is taken as UTC.

    A caller's clock may be some minutes fast; what it says is then now.
    """

    FAST: ClassVar = timedelta(minutes=5)
    OLDEST: ClassVar = datetime(2000, 1, 1, tzinfo=UTC)
    default_error_messages = {
        "future": "This lies in the future.",
        "ancient": "This lies before the year 2000.",
    }

    def to_internal_value(self, value: Any) -> Any:
        moment, now = super().to_internal_value(value), timezone.now()
        if moment > now + self.FAST:
            self.fail("future")
        if moment < self.OLDEST:
            self.fail("ancient")
        return min(moment, now)


class Endpoint(viewsets.GenericViewSet):
    """A collection under /api/v1/. `scope` is the area a key must hold.

    The queryset's own order is the order of the pages.
    """

    scope: ClassVar[str]
    http_method_names = ["get", "head", "post", "patch", "delete"]
    lookup_value_regex = "[0-9]+"

    def filter_queryset(self, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Filter lists only, refusing a filter that would have been ignored."""
        if self.action != "list":
            return queryset
        filters = getattr(self, "filterset_class", None)
        known = [*(filters.base_filters if filters else ()), "cursor", "page_size"]
        unknown = self.request.query_params.keys() - {*known, "format"}
        if unknown:
            text = f"There is no such filter; there are {', '.join(known)}."
            raise ValidationError({name: [text] for name in sorted(unknown)})
        return super().filter_queryset(queryset)

    def shown(self, row: models.Model) -> Any:
        """Return the representation of a row as it is now."""
        return self.get_serializer(self.get_queryset().get(pk=row.pk)).data


class Listed(mixins.ListModelMixin, mixins.RetrieveModelMixin, Endpoint):
    pass


class Created(mixins.CreateModelMixin, Endpoint):
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        with transaction.atomic():
            row = serializer.save()
        return Response(self.shown(row), status=status.HTTP_201_CREATED)


class Edited(Endpoint):
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change the row as it stands, one caller after the other."""
        with transaction.atomic():
            row = self.get_object()
            same = type(row)._default_manager.filter(pk=row.pk)
            serializer = self.get_serializer(
                same.select_for_update(no_key=True).get(),
                data=request.data,
                partial=True,
            )
            serializer.is_valid(raise_exception=True)
            serializer.save()
        return Response(self.shown(row))
