from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from . import health

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("admin/", admin.site.urls),
    path("api/", include("config.api_urls")),
    path("", include("statuspages.urls")),
    path("", include("subscriptions.urls")),
]

handler404 = "statuspages.views.not_found"
