import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

_PREFIX = "toc_"


class Scope(models.TextChoices):
    MONITORS_READ = "monitors:read", "Read monitors"
    MONITORS_WRITE = "monitors:write", "Change monitors"
    RESULTS_WRITE = "results:write", "Push results of checks made elsewhere"
    ALERTING_READ = "alerting:read", "Read rules, triggers and alerts"
    ALERTING_WRITE = "alerting:write", "Change rules, triggers and alerts"
    INCIDENTS_READ = "incidents:read", "Read published incidents"
    INCIDENTS_WRITE = "incidents:write", "Write incidents, see what is not public"
    MESSAGES_READ = "messages:read", "Read the outbox"
    MESSAGES_WRITE = "messages:write", "Send messages again"
    SUBSCRIBERS_READ = "subscribers:read", "Read subscribers' addresses"
    SUBSCRIBERS_WRITE = "subscribers:write", "Change subscribers"
    METRICS_READ = "metrics:read", "Read metrics"


def every_scope() -> list[str]:
    return [str(scope) for scope in Scope]


class OneRow(models.Model):
    """Settings of which there is one row, whether or not it has been saved."""

    THE_ONE: Final = 1

    class Meta:
        abstract = True

    @classmethod
    def current(cls) -> Self:
        """The row, or what it would be."""
        return cls._default_manager.filter(pk=cls.THE_ONE).first() or cls(
            pk=cls.THE_ONE
        )

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.pk = self.THE_ONE
        super().save(*args, **kwargs)


class ApiKey(models.Model):
    """A bearer key for programs: shown once, kept as a hash.

    The secret is 256 random bits, so one round of SHA-256 is enough; a slow
    password hash would only give strangers a way to burn the machine's time.
    """

    WRITE_USE_EVERY: ClassVar = timedelta(minutes=1)

    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=every_scope)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["name", "pk"]
        verbose_name = "API key"
        verbose_name_plural = "API keys"

    def __str__(self) -> str:
        return f"{self.name} ({_PREFIX}{self.prefix}…)"

    def issue(self) -> str:
        """Give this unsaved key its secret, save it, and return the whole key."""
        self.prefix = secrets.token_hex(4)
        secret = secrets.token_urlsafe(32)
        self.digest = _digest(secret)
        self.save()
        return f"{_PREFIX}{self.prefix}_{secret}"

    @classmethod
    def find(cls, key: str, *, at: datetime) -> "ApiKey | None":
        """Return the valid key that this is, or None."""
        prefix, _, secret = key.removeprefix(_PREFIX).partition("_")
        if not key.startswith(_PREFIX) or not key.isascii() or not prefix.isalnum():
            return None
        found = (
            cls.objects.filter(Q(expires_at=None) | Q(expires_at__gt=at))
            .filter(prefix=prefix[:12], revoked_at=None)
            .first()
        )
        if found and hmac.compare_digest(found.digest, _digest(secret)):
            found._note_use(at)
            return found
        return None

    def _note_use(self, at: datetime) -> None:
        """Remember the use, at most once a minute: reading must stay reading."""
        if self.last_used_at is None or at - self.last_used_at > self.WRITE_USE_EVERY:
            ApiKey.objects.filter(pk=self.pk).update(last_used_at=at)

    def revoke(self, *, at: datetime) -> None:
        ApiKey.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=at)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
