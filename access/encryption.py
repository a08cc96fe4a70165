"""Secrets at rest: encrypted with their own keys, never with SECRET_KEY."""

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.db import models

if TYPE_CHECKING:
    _TextField = models.TextField[Any, Any]
else:
    _TextField = models.TextField


@lru_cache(maxsize=4)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def encrypt(text: str) -> str:
    """Encrypt with the first of ENCRYPTION_KEYS."""
    return _fernet(tuple(settings.ENCRYPTION_KEYS)).encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """Decrypt with whichever key fits; fail closed if none does."""
    try:
        return _fernet(tuple(settings.ENCRYPTION_KEYS)).decrypt(token.encode()).decode()
    except InvalidToken:
        raise ImproperlyConfigured(
            "A secret in the database was encrypted with a key that is not among "
            "ENCRYPTION_KEYS. Put the old key back behind the new one."
        ) from None


class EncryptedJSONField(_TextField):
    """A JSON value that the database holds encrypted."""

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else encrypt(json.dumps(value))

    def from_db_value(self, value: str | None, *args: Any) -> Any:
        return None if value is None else json.loads(decrypt(value))

    def to_python(self, value: Any) -> Any:
        return value

    def value_to_string(self, obj: models.Model) -> str:
        """Serialise for dumpdata, still encrypted."""
        return encrypt(json.dumps(self.value_from_object(obj)))


@register("security")
def check_keys(**kwargs: Any) -> list[CheckMessage]:
    """Name a key that cannot be used before anything is encrypted with it."""
    try:
        _fernet(tuple(settings.ENCRYPTION_KEYS))
    except ValueError:
        return [
            Error(
                "ENCRYPTION_KEYS has a key that is not 32 bytes in url-safe base64.",
                hint="Make one with: python -c 'from cryptography.fernet import "
                "Fernet; print(Fernet.generate_key().decode())'",
                id="access.E001",
            )
        ]
    return []
