import json
import warnings
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import pytest

from egress.kinds import build
from outbox.channels import CHANNELS

from .notices import alert, envelope


@dataclass
class Sent:
    """A request as it came to the other side; `path` has its query."""

    method: str
    path: str
    headers: Any
    raw: bytes

    @property
    def body(self):
        """What it carried: JSON or a form, whichever it says it is."""
        if self.headers["Content-Type"].startswith("application/json"):
            return json.loads(self.raw)
        pairs = parse_qsl(self.raw.decode("ascii"), True, True, errors="strict")
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)


@pytest.fixture
def sent(receiver):
    """The only request there was."""

    def sent():
        ((method, path, headers, raw),) = receiver.requests
        receiver.requests.clear()
        return Sent(method, path, headers, raw)

    return sent


@pytest.fixture
def deliver(receiver, sent):
    """Deliver by a channel made from its config; return the request and the answer.

    `status` and `answer` are what the other side says: bytes, or JSON.
    """

    def deliver(kind, config, content=None, *, status=200, answer=b"ok", **about):
        receiver.status = status
        receiver.body = (
            answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        )
        channel = build(CHANNELS[kind], config)
        taken = channel.deliver(content or alert(), envelope(**about))
        return sent(), taken

    return deliver


@pytest.fixture(scope="session")
def apprise():
    """The extra of that name; without it a test is skipped."""
    with warnings.catch_warnings():
        # It imports imghdr, which Python 3.13 has no more, once it is used.
        warnings.simplefilter("ignore", DeprecationWarning)
        module = pytest.importorskip("apprise")
        module.Apprise().add("json://localhost")
    return module


@pytest.fixture
def faults():
    """What is wrong with a config, by field."""

    def faults(kind, config):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            build(CHANNELS[kind], config)
        return caught.value.errors

    return faults
