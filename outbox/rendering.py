"""Who makes the content of a message: a registry filled by the apps above.

Content is made when a message is delivered, not when it is queued, so that it
says what is known by then, such as the address of the incident.
"""

from collections.abc import Callable

from .channels import Content
from .models import Message

Renderer = Callable[[Message], Content]

_renderers: dict[str, Renderer] = {}


class Withdrawn(Exception):
    """There is nothing to say any more; the message is cancelled with this reason."""


def register(name: str, renderer: Renderer) -> None:
    """Make the renderer known; called in ready()."""
    _renderers[name] = renderer


def render(message: Message) -> Content:
    """Return the content, or raise Withdrawn."""
    return _renderers[message.renderer](message)
