"""Who makes the content of a message: a registry filled by the apps above.

Content is made when a message is delivered, not when it is queued, so that it
says what is known by then, such as the address of the incident.
"""

from collections.abc import Callable, Sequence

from .channels import Content
from .models import Message

Renderer = Callable[[Message], Content]
# Reads at once what the content of several messages is to be made from.
Loader = Callable[[Sequence[Message]], None]
# What a test says, one after the other, each with its name.
Tests = Callable[[], list[tuple[str, Content]]]

_renderers: dict[str, Renderer] = {}
_loaders: dict[str, Loader] = {}
_tests: list[Tests] = []


class Withdrawn(Exception):
    """There is nothing to say any more; the message is cancelled with this reason."""


def register(name: str, renderer: Renderer, load: Loader | None = None) -> None:
    """Make the renderer known; called in ready()."""
    _renderers[name] = renderer
    if load:
        _loaders[name] = load


def load(messages: Sequence[Message]) -> None:
    """Read ahead for messages that are about to be attempted."""
    for name, read in _loaders.items():
        if some := [message for message in messages if message.renderer == name]:
            read(some)


def render(message: Message) -> Content:
    """Return the content, or raise Withdrawn."""
    return _renderers[message.renderer](message)


def register_test(tests: Tests) -> None:
    """Make known what a test of a trigger says; called in ready()."""
    _tests[:] = [tests]


def tests() -> list[tuple[str, Content]]:
    return [said for made in _tests for said in made()]
