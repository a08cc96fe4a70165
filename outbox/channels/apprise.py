import importlib
import importlib.util
import re
from dataclasses import dataclass
from typing import ClassVar

from egress.kinds import ConfigInvalid, option

from .base import Answer, Channel, Content, DeliveryFailed, Envelope, Notice

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://\S+", re.IGNORECASE)
# What Apprise calls how bad it is.
TYPES = {"CRITICAL": "failure", "WARNING": "warning", "RESOLVED": "success"}


@dataclass(frozen=True, kw_only=True)
class AppriseChannel(Channel):
    """Tells any service that Apprise knows, by Apprise's own address of it.

    It needs the extra `apprise`. It has no threads. Apprise makes its requests by
    itself: the policy of `egress` does not hold for them, and timeouts stand in
    the address. https://github.com/caronc/apprise/wiki
    """

    label: ClassVar = "Apprise"

    url: str = option(
        label="Address",
        secret=True,
        help="As Apprise writes them, such as rocket://user:password@host/channel",
    )

    def __post_init__(self) -> None:
        # Looked for only: to import it takes more than a second.
        if importlib.util.find_spec("apprise") is None:
            install = "Install the extra: pip install 'tocsin[apprise]'."
            raise ConfigInvalid({"url": install})
        if not _SCHEME.fullmatch(self.url):
            raise ConfigInvalid({"url": "Give an address such as rocket://…."})

    def destination(self) -> str:
        """Only the service: anything after it may be a password."""
        found = _SCHEME.fullmatch(self.url)
        return found[1].lower() if found else ""

    def deliver(self, content: Content, envelope: Envelope) -> Answer:
        apprise = importlib.import_module("apprise")
        notice, sender = Notice.of(content), apprise.Apprise()
        if not sender.add(self.url):
            raise DeliveryFailed("Apprise does not understand the address.")
        parts = filter(None, [notice.body, notice.link])
        if not sender.notify(
            title=notice.headline,
            body="\n\n".join(parts),
            notify_type=TYPES.get(notice.level, "info"),
            body_format="text",
        ):
            raise DeliveryFailed("Apprise could not deliver it; its log says why.")
        return Answer(text=f"Apprise took it for {self.destination()}")
