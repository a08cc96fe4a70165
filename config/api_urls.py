"""Every address below /api/."""

from functools import cache
from typing import Any, NoReturn

from django.urls import (
    Resolver404,
    URLPattern,
    URLResolver,
    include,
    path,
    re_path,
    resolve,
)
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer2, OpenApiYamlRenderer2
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView

from alerting.alerts_api import AlertViewSet
from alerting.api import AlertRuleViewSet
from alerting.decisions_api import DecisionViewSet, WhyViewSet
from alerting.silences_api import SilenceViewSet
from incidents.api import UpdateTemplateViewSet
from incidents.maintenance_api import MaintenanceViewSet, OccurrenceViewSet
from incidents.merging_api import RelatedIncidentViewSet
from incidents.simulation_api import TrialViewSet
from monitors.api import MonitorViewSet, ResultsViewSet
from monitors.corrections_api import CorrectionViewSet
from monitors.labels_api import LabelViewSet
from outbox.api import MessageViewSet, TriggerViewSet
from statuspages.api import IncidentPagesViewSet
from subscriptions.api import SubscriberViewSet

router = SimpleRouter()
router.register("monitors", MonitorViewSet, "monitor")
router.register("corrections", CorrectionViewSet, "correction")
router.register("labels", LabelViewSet, "label")
router.register("results", ResultsViewSet, "result")
router.register("alert-rules", AlertRuleViewSet, "alert-rule")
router.register("alert-rules", TrialViewSet, "alert-rule-trial")
router.register("triggers", TriggerViewSet, "trigger")
router.register("alerts", AlertViewSet, "alert")
router.register("decisions", DecisionViewSet, "decision")
router.register("silences", SilenceViewSet, "silence")
router.register("incidents", RelatedIncidentViewSet, "incident")
router.register("update-templates", UpdateTemplateViewSet, "update-template")
router.register("maintenances", MaintenanceViewSet, "maintenance")
router.register(
    "maintenances/(?P<id>[0-9]+)/occurrences", OccurrenceViewSet, "occurrence"
)
router.register("messages", MessageViewSet, "message")
router.register("subscribers", SubscriberViewSet, "subscriber")


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document, made once: anyone may ask for it, and it costs much."""
    return SchemaGenerator().get_schema(request=None, public=True)


class Schema(SpectacularAPIView):
    renderer_classes = [OpenApiJsonRenderer2, OpenApiYamlRenderer2]

    def _get_schema_response(self, request: Request) -> Response:
        return Response(document())


class Docs(SpectacularSwaggerSplitView):
    url_name = "api-schema"


class Nowhere(APIView):
    """Whatever else is asked for under /api/ is a problem, too, not a page."""

    authentication_classes = []
    permission_classes = [AllowAny]
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> NoReturn:
        detail = "There is nothing at this address; see /api/docs/."
        try:
            if resolve(f"{request.path_info}/").func.__name__ != Nowhere.__name__:
                detail = (
                    "There is nothing at this address: it lacks the slash at its end."
                )
        except Resolver404:
            pass
        raise NotFound(detail)


urlpatterns: list[URLPattern | URLResolver] = [
    path("v1/monitors/<slug:tag>/why/", WhyViewSet.as_view({"get": "retrieve"})),
    path(
        "v1/incidents/<int:pk>/pages/",
        IncidentPagesViewSet.as_view({"get": "retrieve", "put": "update"}),
    ),
    path("v1/", include(router.urls)),
    path("schema/", Schema.as_view(), name="api-schema"),
    path("docs/", Docs.as_view(), name="api-docs"),
    re_path("", Nowhere.as_view()),
]
