"""What a channel is made of. Nothing here or beside it knows of our models."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What a message says; a channel takes from it what it can carry.

    `values` is everything the subject knows, made of JSON's types. `headers`
    are for mails. All texts may come from strangers: a channel escapes them
    for its own format.
    """

    subject: str = ""
    text: str = ""
    html: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """Which message this is, the same on every attempt, and whom it is for."""

    key: str
    destination: str
    created_at: datetime
    attempted_at: datetime


class DeliveryFailed(Exception):
    """The other side did not take the message; the text is what it answered.

    `final` means that trying again is of no use. `retry_after` is in seconds.
    """

    def __init__(
        self, answer: str, *, final: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(answer)
        self.final, self.retry_after = final, retry_after


class Channel(ABC):
    """One way of getting the word out.

    A channel is a frozen dataclass: its fields are a trigger's config.
    """

    @abstractmethod
    def deliver(self, content: Content, envelope: Envelope) -> str:
        """Hand the message over and return the answer; raise DeliveryFailed."""

    def destination(self) -> str:
        """Say in a few words, and without secrets, where messages go."""
        return ""
