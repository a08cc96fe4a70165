"""What the API does the same everywhere: paging, JSON, problem details (RFC 9457)."""

import json
import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import IO, Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.exceptions import ValidationError as ModelInvalid
from django.db import DataError, IntegrityError, OperationalError
from django.db.models import QuerySet
from django.http import Http404
from rest_framework import exceptions
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import as_serializer_error

logger = logging.getLogger(__name__)

MOST_BYTES = 1 << 20


class CursorPages(CursorPagination):
    """Pages in the order of the queryset; what is added meanwhile shifts nothing."""

    page_size_query_param = "page_size"
    max_page_size = 500

    def get_ordering(
        self, request: Request, queryset: QuerySet[Any], view: Any
    ) -> tuple[str, ...]:
        order = queryset.query.order_by or queryset.model._meta.ordering
        return tuple(str(name) for name in order)

    def get_page_size(self, request: Request) -> int:
        asked = request.query_params.get(
            self.page_size_query_param, str(self.page_size)
        )
        size = int(asked) if asked.isdecimal() and len(asked) < 10 else 0
        if not 1 <= size <= self.max_page_size:
            text = f"Give a whole number from 1 to {self.max_page_size}."
            raise exceptions.ValidationError({self.page_size_query_param: [text]})
        return size

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        cursor, size = super().get_schema_operation_parameters(view)
        size["schema"] |= {"minimum": 1, "maximum": self.max_page_size}
        cursor["description"] = "As in the `next` or `previous` of another page."
        return [cursor, size]

    def paginate_queryset(
        self, queryset: Any, request: Request, view: Any = None
    ) -> list[Any] | None:
        """Return the page; a cursor that somebody has changed is no page at all."""
        if "\x00" in request.query_params.get(self.cursor_query_param, ""):
            raise exceptions.NotFound(self.invalid_cursor_message)
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValueError, ModelInvalid, OverflowError, DataError):
            raise exceptions.NotFound(self.invalid_cursor_message) from None

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": dict(link), "results": schema},
        }


class TooLarge(exceptions.APIException):
    status_code = 413
    default_detail = "The body is too large."


class StrictJSON(BaseParser):
    """JSON that every database can hold: no half characters, no infinite numbers."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        view = (parser_context or {}).get("view")
        most = getattr(view, "most_bytes", MOST_BYTES)
        body = stream.read(most + 1)
        if len(body) > most:
            raise TooLarge(f"The body is larger than {most} bytes.")
        try:
            found = json.loads(
                body.decode("utf-8-sig"), parse_float=_finite, parse_constant=_finite
            )
            # \ud800 alone is no character: it can be neither stored nor answered.
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise exceptions.ParseError(
                "The body has half of a surrogate pair in it, such as \\ud800."
            ) from None
        except (ValueError, RecursionError) as error:
            raise exceptions.ParseError(f"The body is no JSON: {error}") from None
        return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that can be kept.")
    return number


def problem(error: Exception, context: dict[str, Any]) -> Response:
    """Answer any failure as problem details; `errors` is {field: [why, …]}."""
    raised = _as_api_exception(error)
    phrase = HTTPStatus(raised.status_code).phrase
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": phrase,
        "status": raised.status_code,
    }
    if isinstance(raised, exceptions.ValidationError):
        body["errors"] = _by_field(raised.detail)
        body["detail"] = "; ".join(_lines(body["errors"]))[:1000]
    else:
        body["detail"] = str(raised.detail)
    answer = Response(body, status=raised.status_code)
    answer.content_type = "application/problem+json"
    if header := getattr(raised, "auth_header", None):
        answer["WWW-Authenticate"] = header
    if raised.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        answer["Retry-After"] = "5"
    return answer


def _as_api_exception(error: Exception) -> exceptions.APIException:
    if isinstance(error, exceptions.APIException):
        return error
    if isinstance(error, Http404):
        return exceptions.NotFound("There is nothing at this address.")
    if isinstance(error, PermissionDenied):
        return exceptions.PermissionDenied(str(error) or None)
    if isinstance(error, ModelInvalid):
        return exceptions.ValidationError(as_serializer_error(error))
    if isinstance(error, SuspiciousOperation):
        return exceptions.ParseError("The request is not as it should be.")
    logger.error("The API failed", exc_info=error)
    failure = exceptions.APIException("Something went wrong here; it has been logged.")
    if isinstance(error, OperationalError):
        failure = exceptions.APIException("The database does not answer; try again.")
        failure.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, IntegrityError):
        failure = exceptions.APIException("Another request was faster; look again.")
        failure.status_code = HTTPStatus.CONFLICT
    return failure


def _by_field(detail: Any) -> Any:
    """Give every level names: the items of a list go by their number."""
    if isinstance(detail, dict):
        return {str(name): _by_field(inner) for name, inner in detail.items()}
    if isinstance(detail, list) and any(isinstance(item, dict) for item in detail):
        return {str(n): _by_field(inner) for n, inner in enumerate(detail) if inner}
    if isinstance(detail, list):
        return [str(item) for item in detail]
    return [str(detail)]


def _lines(errors: Any, path: str = "") -> list[str]:
    if isinstance(errors, dict):
        return [
            line
            for name, inner in errors.items()
            for line in _lines(inner, f"{path}.{name}" if path else name)
        ]
    return [f"{path}: {text}" if path else text for text in errors]
