from typing import Any

from django.db.models import Prefetch, Q, QuerySet
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import (
    MOST_NUMBER,
    Created,
    Edited,
    Listed,
    RelatedField,
    StrictModelSerializer,
)
from monitors.models import Monitor
from outbox.models import Trigger

from .models import Alert, AlertRule


class AlertRuleSerializer(StrictModelSerializer):
    monitors = RelatedField(
        queryset=Monitor.objects.current(),
        key="tag",
        child=serializers.CharField(max_length=100),
        source="current_monitors",
        allow_empty=False,
    )
    triggers = RelatedField(
        queryset=Trigger.objects.all(),
        key="pk",
        child=serializers.IntegerField(min_value=1, max_value=MOST_NUMBER),
        source="triggers.all",
        required=False,
    )

    class Meta:
        model = AlertRule
        fields = [
            "id",
            "name",
            "monitors",
            "alert_for",
            "alert_value",
            "failure_threshold",
            "success_threshold",
            "severity",
            "description",
            "create_incident",
            "is_active",
            "triggers",
            "created_at",
        ]
        read_only_fields = ["created_at"]
