from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

from egress.client import Request, RequestFailed, Response
from egress.kinds import ConfigInvalid, option

from .base import DOWN, UP, HTTPLike, Outcome

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MOST_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class HTTPChecker(HTTPLike):
    """Up when the answer has an expected status code; redirects are followed."""

    url: str = option(label="Address", help="https://example.com/health")
    method: str = option(label="Method", default="GET", help=", ".join(METHODS))
    timeout: float = option(
        label="Timeout", default=10.0, help="Seconds for the whole exchange, up to 60"
    )
    expected_status_codes: tuple[str, ...] = option(
        label="Expected status codes",
        default=("200-299",),
        help="Codes and ranges, such as 200-299 or 401",
    )

    def __post_init__(self) -> None:
        errors = {}
        if reason := _unfit(self.url):
            errors["url"] = reason
        if self.method not in METHODS:
            errors["method"] = f"Choose one of {', '.join(METHODS)}."
        if not 0.1 <= self.timeout <= MOST_SECONDS:
            errors["timeout"] = f"Give 0.1 to {MOST_SECONDS:g} seconds."
        try:
            if not [_span(code) for code in self.expected_status_codes]:
                raise ValueError("Give at least one code, such as 200-299.")
        except ValueError as error:
            errors["expected_status_codes"] = str(error)
        if errors:
            raise ConfigInvalid(errors)

    def request(self) -> Request:
        return self._request

    @cached_property
    def _request(self) -> Request:
        return Request(
            url=self.url,
            method=self.method,
            timeout=self.timeout,
            redirects=5,
            most_bytes=64 * 1024,
        )

    @cached_property
    def _expected(self) -> list[tuple[int, int]]:
        return [_span(code) for code in self.expected_status_codes]

    def judge(self, answer: Response | RequestFailed) -> Outcome:
        if isinstance(answer, RequestFailed):
            return Outcome(DOWN, error=str(answer))
        latency, phases = answer.latency_ms, answer.phases
        expires_at = answer.expires_at
        for low, high in self._expected:
            if low <= answer.status <= high:
                return Outcome(UP, latency, phases=phases, expires_at=expires_at)
        expected = ", ".join(self.expected_status_codes)
        reason = f"The answer was {answer.status}, expected {expected}"
        return Outcome(DOWN, latency, reason, phases, answer, expires_at)


def _unfit(url: str) -> str:
    """Say what is wrong with an address, or nothing."""
    if not url.isprintable() or " " in url:
        return "The address has a space or control character in it; remove it."
    try:
        parts = urlsplit(url)
        port_is_fit = parts.port is None or parts.port > 0
    except ValueError:
        return "This is no address; give one such as https://example.com/health."
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fit:
        return "Give an address that begins with http:// or https://."
    if parts.username is not None:
        return "Remove the name and password: addresses are shown to every operator."
    return ""


def _span(code: str) -> tuple[int, int]:
    """Return the lowest and highest status code of "200-299" or "401"."""
    low, _, high = code.partition("-")
    try:
        span = int(low), int(high or low)
    except ValueError:
        raise ValueError(f"{code!r} is no code or range, such as 200-299.") from None
    if not 100 <= span[0] <= span[1] <= 599:
        raise ValueError(f"{code!r} is not within 100 to 599.")
    return span
