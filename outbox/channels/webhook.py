import base64
import binascii
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final
from urllib.parse import urlsplit

from standardwebhooks import Webhook

from egress.client import Request
from egress.kinds import ConfigInvalid, option
from outbox import templating

from .base import MOST_ANSWER, Content, DeliveryFailed, Envelope, HTTPChannel, unfit


@dataclass(frozen=True, kw_only=True)
class WebhookChannel(HTTPChannel):
    """Sends everything the message knows as JSON, or a body of the operator's own.

    Whatever it is, it is signed as Standard Webhooks say.
    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """

    label: ClassVar = "Webhook"

    url: str = option(label="Address", help="https://…", secret=True)
    method: str = option(
        label="Method",
        default="POST",
        choices=("POST", "PUT", "PATCH", "GET", "DELETE"),
    )
    headers: dict[str, str] = option(  # noqa: RUF009
        label="Headers",
        default_factory=dict,
        secret=True,
        help="Name: value, one a line, such as Authorization: Bearer …",
    )
    body: str = option(
        label="Body",
        default="",
        template="json",
        help="Yours, with {{variables}} in it; empty sends everything as JSON.",
    )
    secret: str = option(
        label="Signing secret",
        default="",
        secret=True,
        help="whsec_… in base64; one is made if you give none",
    )
    timeout: float = option(
        label="Timeout", default=10.0, help="Seconds for the whole exchange, up to 30"
    )

    def __post_init__(self) -> None:
        if not self.secret:
            object.__setattr__(self, "secret", make_secret())
        wrong = {
            "url": _unfit_url(self.url),
            "headers": _unfit_headers(self.headers),
            "body": self._unfit_body(),
            "secret": ""
            if _key(self.secret)
            else "Give 24 to 64 bytes in base64, with whsec_ before them.",
            "timeout": "" if 0.1 <= self.timeout <= 30 else "Give 0.1 to 30 seconds.",
        }
        if errors := {name: reason for name, reason in wrong.items() if reason}:
            raise ConfigInvalid(errors)

    def _unfit_body(self) -> str:
        if self.body and self.method == "GET":
            return "A GET carries no body; leave it empty or choose another method."
        return templating.fault(self.body, self.form) if self.body else ""

    @property
    def form(self) -> str:
        """What the body is, by its Content-Type, and so what is escaped in it."""
        kind = _folded(self.headers).get("content-type", "application/json")
        kind = kind.partition(";")[0].strip().lower()
        if kind == "application/x-www-form-urlencoded":
            return "url"
        ending = kind.rpartition("/")[2].rpartition("+")[2]
        return {"json": "json", "html": "html", "xml": "html"}.get(ending, "text")

    def destination(self) -> str:
        return urlsplit(self.url).hostname or ""

    def request(self, content: Content, envelope: Envelope) -> Request:
        body = self._made_body(content)
        headers = {
            "Idempotency-Key": envelope.key,
            "webhook-id": envelope.key,
            "webhook-timestamp": str(int(envelope.attempted_at.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(
                envelope.key, envelope.attempted_at, body
            ),
        }
        if body and "content-type" not in _folded(self.headers):
            headers["Content-Type"] = "application/json"
        return Request(
            url=self.url,
            method=self.method,
            headers=headers | self.headers,
            body=body.encode(),
            timeout=self.timeout,
            most_bytes=MOST_ANSWER,
        )

    def _made_body(self, content: Content) -> str:
        if self.method == "GET":
            return ""
        if not self.body:
            return json.dumps(content.values, ensure_ascii=False, separators=(",", ":"))
        values = {**content.values, **content.variables}
        try:
            return templating.render(self.body, values, self.form)
        except templating.TemplateInvalid as invalid:
            # Not final: somebody can mend the template in the meantime.
            raise DeliveryFailed(f"The body's template: {invalid}") from invalid


def make_secret() -> str:
    """Return a new signing secret: 32 random bytes, as Standard Webhooks write them."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _key(secret: str) -> bytes | None:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if 24 <= len(key) <= 64 else None


_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Of the connection and the message itself, and of what proves who sent it.
_OURS: Final = frozenset(
    (
        *("connection", "content-length", "expect", "host", "keep-alive"),
        *("proxy-authenticate", "proxy-authorization", "proxy-connection", "te"),
        *("trailer", "transfer-encoding", "upgrade", "idempotency-key"),
        *("webhook-id", "webhook-signature", "webhook-timestamp"),
    )
)


def _folded(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _unfit_headers(headers: Mapping[str, str]) -> str:
    """Say what is wrong with headers of the operator's own, or nothing."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            return f"{name!r} is no name of a header."
        if name.lower() in _OURS:
            return f"{name} is set by Tocsin; take it out."
        if not value:
            return f"{name} has no value; give one or take it out."
        if not (value.isascii() and value.isprintable()) or value != value.strip():
            return f"The value of {name} may hold printable ASCII only."
    if len(_folded(headers)) < len(headers):
        return "A header is there twice; take one out."
    return ""


def _unfit_url(url: str) -> str:
    if "{{" in url:
        return "An address holds no {{variables}}; put them into the body."
    return unfit(url)
