"""How the OpenAPI document speaks of keys, of configs and of problems."""

import dataclasses
import typing
from http import HTTPStatus
from typing import Any

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerFieldExtension,
)

PROBLEM = {
    "type": "object",
    "description": "Problem details (RFC 9457): why the request was refused.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "examples": ["Bad Request"]},
        "status": {"type": "integer", "examples": [400]},
        "detail": {"type": "string"},
        "errors": {
            "type": "object",
            "description": "Which fields are to be mended, each with its reasons.",
            "additionalProperties": True,
            "examples": [{"config": {"url": ["This field is required."]}}],
        },
    },
}
_PROBLEMS = {
    "400": "A field or filter is not fit; `errors` says which.",
    "401": "There is no key, or it is not valid.",
    "403": "The key lacks a scope.",
    "404": "There is no such thing.",
    "409": "Another request changed the same thing a moment earlier.",
    "413": "The body is too large.",
    "415": "The body is not sent as application/json.",
}


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = "access.permissions.BearerAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A key made by `create_api_key` or in the admin.",
        }


class OperatorScheme(OpenApiAuthenticationExtension):
    target_class = "access.permissions.OperatorAuthentication"
    name = "operator"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "A superuser who is logged in to the admin.",
        }


class ConfigScheme(OpenApiSerializerFieldExtension):
    """A config is what one of the kinds has for fields."""

    target_class = "access.api.ConfigField"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        found = [_kind(name, kind) for name, kind in self.target.kinds.items()]
        return found[0] if len(found) == 1 else {"anyOf": found}


def _kind(name: str, kind: Any) -> dict[str, Any]:
    hints, fields = typing.get_type_hints(kind), dataclasses.fields(kind)
    required = [f.name for f in fields if f.default is dataclasses.MISSING]
    return {
        "type": "object",
        "title": name,
        "properties": {f.name: _option(f, hints[f.name]) for f in fields},
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _option(field: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    names = {str: "string", float: "number", int: "integer", bool: "boolean"}
    words = [field.metadata.get("label", ""), field.metadata.get("help", "")]
    if field.metadata.get("secret"):
        words.append("Secret: read as ***, and *** keeps it.")
    described: dict[str, Any] = {"description": ". ".join(filter(None, words))}
    if typing.get_origin(hint) is tuple:
        inner = {"type": names.get(typing.get_args(hint)[0], "string")}
        described |= {"type": "array", "items": inner}
    elif hint in names:
        described["type"] = names[hint]
    if field.default is not dataclasses.MISSING:
        is_list = isinstance(field.default, tuple)
        described["default"] = list(field.default) if is_list else field.default
    return described


def describe_problems(
    result: dict[str, Any], generator: Any, **kwargs: Any
) -> dict[str, Any]:
    """Add to every operation how it refuses, and to requests that they are strict."""
    schemas = result["components"]["schemas"]
    schemas["Problem"] = PROBLEM
    for name, schema in schemas.items():
        if name.endswith("Request") and schema.get("type") == "object":
            schema["additionalProperties"] = False
    for path, operations in result["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                response["description"] = HTTPStatus(int(status)).phrase
            for status in _statuses(path, operation):
                operation["responses"][status] = {
                    "description": _PROBLEMS[status],
                    "content": {
                        "application/problem+json": {
                            "schema": {"$ref": "#/components/schemas/Problem"}
                        }
                    },
                }
    return result


def _statuses(path: str, operation: dict[str, Any]) -> list[str]:
    has_query = any(p["in"] == "query" for p in operation.get("parameters", ()))
    has_body = "requestBody" in operation
    return [
        *(["400"] if has_body or has_query or path.endswith("/check/") else []),
        *("401", "403"),
        *(["404"] if "{" in path or has_query else []),
        *(["409", "413", "415"] if has_body else []),
    ]
