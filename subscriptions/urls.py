from django.urls import path, re_path

from . import views

TOKEN = r"(?P<token>[\w-]{1,60})"

urlpatterns = [
    path("subscribe/", views.subscribe, name="subscribe"),
    re_path(rf"^subscribe/confirm/{TOKEN}/$", views.confirm, name="confirm"),
    re_path(rf"^unsubscribe/{TOKEN}/$", views.unsubscribe, name="unsubscribe"),
]
