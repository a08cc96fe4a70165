"""Fields of the forms in which operators write about incidents."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils import timezone

from access.forms import UTCInput

from .models import IncidentUpdate


def unless_shown(at: datetime, stored: datetime) -> datetime:
    """Return what is stored if it comes back as it was shown: in whole seconds."""
    return stored if at == stored.replace(microsecond=0) else at


def seen_by(groups: QuerySet[Group], user: User) -> QuerySet[Group]:
    """Return who alone is to see an incident; refuse it if its operator would not."""
    if groups and not user.is_superuser and not groups.filter(user=user).exists():
        text = "You are in none of these groups, and would not see it."
        raise forms.ValidationError(text)
    return groups


class Moment(forms.DateTimeField):
    """A moment in UTC, as browsers' own fields write it."""

    widget = UTCInput

    def clean(self, value: Any) -> datetime | None:
        at: datetime | None = super().clean(value)
        if at and at > timezone.now():
            raise forms.ValidationError("This moment is still to come; times are UTC.")
        if at and at.year < 2000:
            raise forms.ValidationError("This moment lies before the year 2000.")
        return at


class Later(forms.DateTimeField):
    """A moment to come, in UTC."""

    widget = UTCInput

    def clean(self, value: Any) -> datetime | None:
        at: datetime | None = super().clean(value)
        if at and at <= timezone.now():
            raise forms.ValidationError("This moment has passed; times are UTC.")
        return at


class Words(forms.CharField):
    """Markdown of which something is seen."""

    def clean(self, value: Any) -> str:
        body: str = super().clean(value)
        if not body and not self.required:
            return body
        try:
            IncidentUpdate(body=body).clean()
        except ValidationError as error:
            raise forms.ValidationError(error.messages) from error
        return body
