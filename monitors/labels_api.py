"""Labels over the API, and the field by which others bear them."""

from typing import Any

from django.db import transaction
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import Created, Listed, RelatedField, StrictModelSerializer

from .labels import refusal
from .models import Label


class LabelsField(RelatedField):
    """Labels by their names; one that there is not is refused, not made."""

    def __init__(self, **kwargs: Any) -> None:
        given = {"queryset": Label.objects.all(), "key": "name", "max_length": 100}
        super().__init__(
            **{"child": serializers.CharField(max_length=50), **given, **kwargs}
        )

    def to_internal_value(self, data: Any) -> list[Any]:
        try:
            return super().to_internal_value(data)
        except ValidationError as error:
            if not isinstance(error.detail, list):
                raise
            text = f"{error.detail[0]} POST to /api/v1/labels/ to add it."
            raise ValidationError(text) from error


class LabelSerializer(StrictModelSerializer):
    """A word by which monitors are found together."""

    class Meta:
        model = Label
        fields = ["id", "name"]


class LabelViewSet(Listed, Created):
    """Labels, by their names."""

    scope = "monitors"
    serializer_class = LabelSerializer
    queryset = Label.objects.order_by("name")

    @transaction.atomic
    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete a label that nothing uses."""
        label = self.get_object()
        if why_not := refusal(label):
            raise ValidationError({"name": [why_not]})
        label.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)
