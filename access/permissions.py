from typing import Any

from django.utils import timezone
from rest_framework.authentication import (
    BaseAuthentication,
    SessionAuthentication,
    get_authorization_header,
)
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from .models import ApiKey


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer toc_…`, a key made by create_api_key or in the admin."""

    def authenticate(self, request: Request) -> tuple[Any, ApiKey] | None:
        scheme, _, key = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        found = ApiKey.find(key.decode("latin-1").strip(), at=timezone.now())
        if found is None:
            raise AuthenticationFailed(
                "This key is not known, has expired or was revoked."
            )
        return None, found

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="tocsin"'


class OperatorAuthentication(SessionAuthentication):
    """An operator who is logged in to the admin may use the API from the browser."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        found = super().authenticate(request)
        return found if found and found[0].is_staff else None


class HasScope(BasePermission):
    """A view names its area in `scope`; reading wants area:read, the rest area:write.

    Write implies read. Operators are judged by their permissions on the model.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        action = "read" if request.method in SAFE_METHODS else "write"
        scope = f"{view.scope}:{action}"
        self.message = (
            f"This key lacks the scope {scope}."
            if isinstance(request.auth, ApiKey)
            else "Without a key, only superusers may use the API."
        )
        return may(request, scope)


def may(request: Request, scope: str) -> bool:
    """Whether whoever asks holds the scope."""
    area, _, action = scope.partition(":")
    if isinstance(request.auth, ApiKey):
        held = request.auth.scopes
        return scope in held or (action == "read" and f"{area}:write" in held)
    return bool(request.user and request.user.is_superuser)
