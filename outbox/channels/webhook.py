import base64
import binascii
import json
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from standardwebhooks import Webhook

from egress.client import Request, RequestFailed, Response, send
from egress.kinds import ConfigInvalid, option

from .base import Channel, Content, DeliveryFailed, Envelope

# Answers after which another attempt cannot succeed: the message itself is
# refused, or the address is gone for good. Others, 401 to 404 among them, are
# what a receiver says in the middle of its own deployment.
_FINAL = {400, 410, 413, 422}


@dataclass(frozen=True, kw_only=True)
class WebhookChannel(Channel):
    """POSTs everything the message knows as JSON, signed as Standard Webhooks say.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """

    url: str = option(label="Address", help="https://…", secret=True)
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
        errors = {}
        try:
            parts = urlsplit(self.url)
            fit = parts.scheme in ("http", "https") and bool(parts.hostname)
            fit = fit and (parts.port is None or parts.port > 0)
        except ValueError:
            fit = False
        if not fit or not self.url.isprintable() or " " in self.url:
            errors["url"] = "Give an address that begins with http:// or https://."
        if _key(self.secret) is None:
            errors["secret"] = "Give 24 to 64 bytes in base64, with whsec_ before them."
        if not 0.1 <= self.timeout <= 30:
            errors["timeout"] = "Give 0.1 to 30 seconds."
        if errors:
            raise ConfigInvalid(errors)

    def destination(self) -> str:
        return urlsplit(self.url).hostname or ""

    def deliver(self, content: Content, envelope: Envelope) -> str:
        body = json.dumps(content.values, ensure_ascii=False, separators=(",", ":"))
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": envelope.key,
            "webhook-id": envelope.key,
            "webhook-timestamp": str(int(envelope.attempted_at.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(
                envelope.key, envelope.attempted_at, body
            ),
        }
        request = Request(
            url=self.url,
            method="POST",
            headers=headers,
            body=body.encode(),
            timeout=self.timeout,
            most_bytes=4096,
        )
        try:
            return _judge(send(request))
        except RequestFailed as failure:
            raise DeliveryFailed(str(failure)) from failure


def _judge(answer: Response) -> str:
    text = answer.body.decode("utf-8", "replace").strip()
    said = f"{answer.status} {text[:500]}".strip()
    if 200 <= answer.status < 300:
        return said
    # Redirects are not followed: a signed body must not go where it was not sent.
    final = answer.status in _FINAL
    raise DeliveryFailed(said, final=final, retry_after=_seconds(answer))


def _seconds(answer: Response) -> float | None:
    """Retry-After in its form of seconds; as a date it is left to our own back-off."""
    value = answer.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else None


def make_secret() -> str:
    """Return a new signing secret: 32 random bytes, as Standard Webhooks write them."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _key(secret: str) -> bytes | None:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if 24 <= len(key) <= 64 else None
