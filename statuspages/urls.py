from django.urls import path

from . import views

urlpatterns = [
    path("", views.status, name="status"),
    path("incidents/<int:pk>/", views.incident, name="incident"),
    path("maintenance/<int:pk>/", views.maintenance, name="maintenance"),
    path("history/", views.history, name="history"),
    path("history/<str:month>/", views.history, name="history_month"),
]
