from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from . import health, metrics

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", require_safe(never_cache(metrics.Metrics.as_view()))),
    path("admin/", admin.site.urls),
    path("api/", include("config.api_urls")),
    path("", include("statuspages.urls")),
    path("", include("subscriptions.urls")),
]

handler404 = "statuspages.views.not_found"
