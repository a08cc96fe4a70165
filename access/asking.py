"""The page between an action of the admin and what it does: it asks first."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.template.response import TemplateResponse

from . import desk

# Only the answer of that page has it.
CONFIRMED = "confirmed"


def is_confirmed(request: HttpRequest) -> bool:
    return CONFIRMED in request.POST


def ask(
    pages: "admin.ModelAdmin[Any]",
    request: HttpRequest,
    found: Sequence[models.Model],
    *,
    action: str,
    title: str,
    submit: str,
    lede: str = "",
    panel: str = "",
    form: forms.Form | None = None,
) -> TemplateResponse:
    """Return the page that asks; its answer is the same action, confirmed."""
    if form is not None:
        form.label_suffix = ""
    context = {
        **pages.admin_site.each_context(request),
        "title": title,
        "lede": lede,
        "opts": pages.opts,
        "found": found,
        "panel": panel,
        "form": form,
        "action": action,
        "confirmed": CONFIRMED,
        "submit": submit,
        "back": desk.came_from(request) or desk.list_address(pages.model),
    }
    return TemplateResponse(request, "admin/ask.html", context)
