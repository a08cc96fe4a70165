"""What a channel is made of. Nothing here or beside it knows of our models."""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from egress.client import Request, RequestFailed, Response, send
from egress.kinds import ConfigInvalid, option


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What a message says; a channel takes from it what it can carry.

    `values` is everything the subject knows, made of JSON's types, and
    `variables` the same under the flat names that operators' own templates
    use. `headers` are for mails. All texts may come from strangers: a channel escapes them
    for its own format.
    """

    subject: str = ""
    text: str = ""
    html: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """Which message this is, the same on every attempt, and whom it is for.

    `topic` is the same for all that is said about one thing, and `thread` what
    the other side called the first message about it: where to say the rest.
    """

    key: str
    destination: str
    created_at: datetime
    attempted_at: datetime
    topic: str = ""
    thread: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The other side took the message: what it said, and what it calls it.

    `asked` is the request, for the log of deliveries.
    """

    text: str
    reference: str = ""
    asked: Request | None = None


class DeliveryFailed(Exception):
    """The other side did not take the message; the text is what it answered.

    `final` means that trying again is of no use. `retry_after` is in seconds.
    `unwell` means that the destination fails, and not this message alone; unless
    told, that is so of what the network or a mail server has refused.
    """

    def __init__(
        self,
        answer: str,
        *,
        final: bool = False,
        retry_after: float | None = None,
        unwell: bool | None = None,
        asked: Request | None = None,
    ) -> None:
        super().__init__(answer)
        self.final, self.retry_after, self.asked = final, retry_after, asked
        self._unwell = unwell

    @property
    def unwell(self) -> bool:
        if self._unwell is None:
            return not self.final and isinstance(self.__cause__, OSError)
        return self._unwell


class Channel(ABC):
    """One way of getting the word out.

    A channel is a frozen dataclass: its fields are a trigger's config.
    """

    # How people call it.
    label: ClassVar[str]

    @abstractmethod
    def deliver(self, content: Content, envelope: Envelope) -> Answer:
        """Hand the message over, or raise DeliveryFailed."""

    def destination(self) -> str:
        """Say in a few words, and without secrets, where messages go."""
        return ""

    @property
    def has_threads(self) -> bool:
        """Whether it may use `Envelope.thread`, which costs a query."""
        return True


# Answers after which another attempt cannot succeed: the message itself is
# refused, or the address is gone for good. Others, 401 to 404 among them, are
# what a receiver says in the middle of its own deployment.
FINAL = frozenset({400, 410, 413, 422})
# Answers that speak of the whole destination, besides those from 500 on.
UNWELL = frozenset({408, 429})
MOST_ANSWER = 4096
# Services say a whole message back, and what they call it may stand at its end.
MOST_SERVICE_ANSWER = 1 << 20
MOST_LINK = 1000
MOST_TITLE = 300


class HTTPChannel(Channel):
    """A channel that is one HTTP request; what it asks can be shown before it does."""

    final: ClassVar[frozenset[int]] = FINAL

    @abstractmethod
    def request(self, content: Content, envelope: Envelope) -> Request:
        """Return what is to be asked; its `most_bytes` is at least 4096."""

    def reference(self, answer: Response) -> str:
        """What the other side calls the message, from an answer that took it."""
        return ""

    def refusal(self, answer: Response) -> str:
        """Why an answer of 2xx is a refusal after all; nothing if it is none."""
        return ""

    def pause(self, answer: Response, at: datetime) -> float | None:
        """For how many seconds the other side asks us to wait, if it does."""
        return retry_after(answer, at)

    @property
    def has_threads(self) -> bool:
        return type(self).reference is not HTTPChannel.reference

    def deliver(self, content: Content, envelope: Envelope) -> Answer:
        asked = self.request(content, envelope)
        try:
            answer = send(asked)
        except RequestFailed as failure:
            raise DeliveryFailed(str(failure), unwell=True, asked=asked) from failure
        text = answer.body.decode("utf-8", "replace").strip()
        said = f"{answer.status} {text[:500]}".strip()
        after = self.pause(answer, envelope.attempted_at)
        # Redirects are not followed: a message goes where it was sent, only.
        if not 200 <= answer.status < 300:
            final = answer.status in self.final
            raise DeliveryFailed(
                said,
                final=final,
                retry_after=after,
                unwell=not final and (answer.status >= 500 or answer.status in UNWELL),
                asked=asked,
            )
        if reason := self.refusal(answer):
            said, unwell = f"{answer.status} {reason[:500]}", after is not None
            raise DeliveryFailed(said, retry_after=after, unwell=unwell, asked=asked)
        reference = self.reference(answer)[:500]
        return Answer(text=said, reference=reference, asked=asked)


class ServiceChannel(HTTPChannel):
    """A channel of a chat, pager or push service, which says a `Notice` in its form.

    It is a dataclass whose last field is `timeout`, made by `timeout_option`.
    """

    timeout: float

    def __post_init__(self) -> None:
        faults = {**self.faults(), "timeout": _unfit_timeout(self.timeout)}
        if errors := {name: text for name, text in faults.items() if text}:
            raise ConfigInvalid(errors)

    @abstractmethod
    def faults(self) -> Mapping[str, str]:
        """Say for each field what to do about it; an empty text if it is fine."""

    def post(
        self,
        url: str,
        body: Mapping[str, Any],
        envelope: Envelope,
        *,
        method: str = "POST",
        **headers: str,
    ) -> Request:
        """Return a request that carries the body as JSON (RFC 8259)."""
        return Request(
            url=url,
            method=method,
            headers={
                "Content-Type": "application/json; charset=utf-8",
                "Idempotency-Key": envelope.key,
                **headers,
            },
            body=compact(body).encode(),
            timeout=self.timeout,
            most_bytes=MOST_SERVICE_ANSWER,
        )

    def post_form(
        self, url: str, body: Mapping[str, str], envelope: Envelope, **headers: str
    ) -> Request:
        """Return a request that carries the body as a form, as browsers send them."""
        return Request(
            url=url,
            method="POST",
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "Idempotency-Key": envelope.key,
                **headers,
            },
            body=urlencode(body).encode(),
            timeout=self.timeout,
            most_bytes=MOST_SERVICE_ANSWER,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """What a message says, read from its content once for all chats and pagers.

    All texts are plain and hold no control characters except line breaks and
    tabs; `title` and `facts` are of one line. `level` is CRITICAL, WARNING,
    RESOLVED or INFO: how loudly to say it. `link` is empty or an address fit to
    be opened, of 1000 bytes at most.
    """

    title: str
    text: str = ""
    level: str = "INFO"
    is_resolved: bool = False
    is_acknowledged: bool = False
    is_test: bool = False
    facts: tuple[tuple[str, str], ...] = ()
    link: str = ""
    link_label: str = ""
    source: str = "Tocsin"

    @classmethod
    def of(cls, content: Content) -> Self:
        """Read any content; that of an alert says more than its subject and text."""
        values = content.values
        alert, kind = _part(values, "alert"), str(values.get("type") or "")
        is_test = values.get("is_test") is True or kind in ("test", "alert.test")
        is_resolved = kind.endswith(".resolved") or alert.get("is_resolved") is True
        is_acknowledged = kind.endswith(".acknowledged")
        link, label = _link(values)
        return cls(
            title=_title(content, is_test),
            text=_summary(content, alert) or clean(content.text),
            level=_level(alert, is_resolved, is_test or is_acknowledged),
            is_resolved=is_resolved,
            is_acknowledged=is_acknowledged,
            is_test=is_test,
            facts=_facts(values, alert),
            link=link,
            link_label=label,
            source=one_line(_part(values, "monitor").get("tag")) or "Tocsin",
        )

    @property
    def icon(self) -> str:
        return ICONS[self.level]

    @property
    def colour(self) -> int:
        """The colour of the level, 0xRRGGBB."""
        return COLOURS[self.level]

    @property
    def headline(self) -> str:
        return f"{self.icon} {self.title}"

    @property
    def body(self) -> str:
        """The text and the facts, one a line; the title if there is neither."""
        facts = "\n".join(f"{name}: {value}" for name, value in self.facts)
        return "\n\n".join(filter(None, [self.text, facts])) or self.title


ICONS: Mapping[str, str] = {
    "CRITICAL": "\N{LARGE RED CIRCLE}",
    "WARNING": "\N{LARGE ORANGE CIRCLE}",
    "RESOLVED": "\N{LARGE GREEN CIRCLE}",
    "INFO": "\N{LARGE BLUE CIRCLE}",
}
COLOURS: Mapping[str, int] = {
    "CRITICAL": 0xC62828,
    "WARNING": 0xEF6C00,
    "RESOLVED": 0x2E7D32,
    "INFO": 0x1565C0,
}


def _part(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = values.get(name)
    return part if isinstance(part, Mapping) else {}


def _title(content: Content, is_test: bool) -> str:
    title = one_line(content.subject) or one_line(clean(content.text)) or "Tocsin"
    if is_test and not title.lower().startswith("test"):
        title = f"Test: {title}"
    return cut(title, MOST_TITLE)


def _summary(content: Content, alert: Mapping[str, Any]) -> str:
    if not alert:
        return ""
    error = clean(alert.get("error"))
    said = [
        clean(alert.get("description")),
        clean(alert.get("reason")),
        f"Last error: {error}" if error else "",
        _reminder(content),
        _acknowledgement(alert),
    ]
    return "\n".join(filter(None, said))


def _reminder(content: Content) -> str:
    if not (number := content.values.get("reminder")):
        return ""
    lasted = one_line(content.variables.get("alert_duration"))
    return (
        f"Failing for {lasted}; reminder {number}" if lasted else f"Reminder {number}"
    )


def _acknowledgement(alert: Mapping[str, Any]) -> str:
    if alert.get("is_acknowledged") is not True:
        return ""
    by, note = one_line(alert.get("acknowledged_by")), clean(alert.get("note"))
    return f"Acknowledged{f' by {by}' if by else ''}{f': {note}' if note else ''}"


def _level(alert: Mapping[str, Any], is_resolved: bool, is_calm: bool) -> str:
    if is_resolved:
        return "RESOLVED"
    severity = str(alert.get("severity"))
    return "INFO" if is_calm or severity not in ICONS else severity


def _facts(
    values: Mapping[str, Any], alert: Mapping[str, Any]
) -> tuple[tuple[str, str], ...]:
    if not alert:
        return ()
    monitor, incident = _part(values, "monitor"), _part(values, "incident")
    to_trigger, to_resolve = (
        alert.get(name) for name in ("failure_threshold", "success_threshold")
    )
    known = {
        "Monitor": f"{monitor.get('name')} ({monitor.get('tag')})" if monitor else "",
        "Severity": alert.get("severity"),
        "Rule": _part(values, "rule").get("name"),
        "Observed": alert.get("observed"),
        "Thresholds": f"{to_trigger} to trigger, {to_resolve} to resolve"
        if to_trigger and to_resolve
        else "",
        "Began": _moment(alert.get("began_at")),
        "Triggered": _moment(alert.get("triggered_at")),
        "Resolved": _moment(alert.get("resolved_at")),
        "Lasted": _duration(alert.get("duration_seconds")),
        "Incident": incident.get("url"),
    }
    said = ((name, one_line(value)) for name, value in known.items())
    return tuple((name, value) for name, value in said if value)


def _link(values: Mapping[str, Any]) -> tuple[str, str]:
    """Return the address that says most about it, and words for it."""
    for name in ("alert", "incident", "site"):
        url = str(_part(values, name).get("url") or "")
        if url and not unfit(url) and len(url.encode()) <= MOST_LINK:
            return url, "Open Tocsin" if name == "site" else f"Open {name}"
    return "", ""


def _moment(iso: Any) -> str:
    """A time in ISO 8601 as people read it, in UTC and whole seconds."""
    try:
        at = datetime.fromisoformat(str(iso))
    except ValueError:
        return ""
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _duration(seconds: Any) -> str:
    """Seconds as hours, minutes and seconds, leaving out what is nought in front."""
    if not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min {rest} s"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")


def clean(value: Any) -> str:
    """Return the value as plain text: LF for each line break, no other controls.

    Half a surrogate pair, which JSON can spell, has no place in UTF-8 and goes too.
    """
    text = "" if value is None else str(value)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub("", text).strip()


def one_line(value: Any) -> str:
    return " ".join(clean(value).split())


def plain(text: str) -> str:
    return text


def cut(
    text: str,
    most: int,
    *,
    escape: Callable[[str], str] = plain,
    size: Callable[[str], int] = len,
) -> str:
    """Return the text escaped, and if it is too long then its beginning and "…".

    It is cut before it is escaped, so that no escape is cut in two. The result is
    of `most` at most, and `most` is 1 at least, by `size`: characters, unless
    something else is given.
    """
    if size(escaped := escape(text)) <= most:
        return escaped
    room = most - size("…")
    kept = bisect_right(
        range(len(text) + 1), room, key=lambda n: size(escape(text[:n]))
    )
    return escape(text[: max(0, kept - 1)]) + "…"


def utf16_units(text: str) -> int:
    """The length as JavaScript, Java and the services written in them count it."""
    return len(text.encode("utf-16-le")) // 2


def json_bytes(text: str) -> int:
    """How many bytes the text takes as a string in JSON, without its quotes."""
    return len(compact(text).encode()) - 2


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_MARKS = re.compile(r"[\\`*_\[\]~|#>]")
_BULLETS = re.compile(r"^([ \t]*)([-+=])", re.MULTILINE)


def markdown(text: str) -> str:
    """Escape what Markdown gives a meaning to (https://spec.commonmark.org/)."""
    return _BULLETS.sub(r"\1\\\2", _MARKS.sub(r"\\\g<0>", text))


def thread_key(content: Content, envelope: Envelope) -> str:
    """The same 39 letters, digits and hyphens for all that is said of one topic.

    Two installations that share an account at a service do not share it: the
    address of the site is in it. Without a topic it is the message's own.
    """
    site = _part(content.values, "site").get("url") or ""
    named = f"{site} {envelope.topic}" if envelope.topic else envelope.key
    return f"tocsin-{hashlib.sha256(named.encode()).hexdigest()[:32]}"


def parsed(answer: Response) -> Mapping[str, Any]:
    """The object an answer is in JSON; an empty one if it is none."""
    try:
        value = json.loads(answer.body)
    except ValueError:
        return {}
    return value if isinstance(value, Mapping) else {}


def with_query(url: str, **query: str) -> str:
    """Return the address with these parameters set in its query."""
    parts = urlsplit(url)
    kept = [(n, v) for n, v in parse_qsl(parts.query, True) if n not in query]
    return urlunsplit(parts._replace(query=urlencode([*kept, *query.items()])))


def under(url: str, path: str) -> str:
    """Return the address of a path below that of an API."""
    return f"{url.rstrip('/')}/{path}"


def host(url: str) -> str:
    return urlsplit(url).hostname or ""


def timeout_option() -> Any:
    return option(
        label="Timeout", default=10.0, help="Seconds for the whole exchange, up to 30"
    )


def _unfit_timeout(seconds: float) -> str:
    return "" if 0.1 <= seconds <= 30 else "Give 0.1 to 30 seconds."


def unfit_token(token: str) -> str:
    """Say what is wrong with a secret that stands in a header, or nothing."""
    if re.fullmatch("[!-~]+", token):
        return ""
    return "Give it as it was shown to you, without spaces and line breaks."


def retry_after(answer: Response, at: datetime) -> float | None:
    """Return the seconds that Retry-After asks for, in either form (RFC 9110, 10.2.3)."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        then = parsedate_to_datetime(value)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - at).total_seconds())


def unfit(url: str) -> str:
    """Say what is wrong with an address to send to, or nothing."""
    try:
        parts = urlsplit(url)
        fit = parts.scheme in ("http", "https") and bool(parts.hostname)
        fit = fit and (parts.port is None or parts.port > 0)
    except ValueError:
        fit = False
    if not fit or not url.isprintable() or " " in url:
        return "Give an address that begins with http:// or https://."
    return ""
