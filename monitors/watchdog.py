"""Tells a target that is down from a line of our own that is down."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from egress.client import Request, RequestFailed, Response
from egress.transfers import Transfers

logger = logging.getLogger(__name__)

TIMEOUT: Final = 3.0
# A verdict speaks so many seconds for what has only just begun to fail, and for
# what has been failing already; or the addresses would be asked all the time.
HOLDS_FOR_NEWS: Final = 1.0
HOLDS: Final = 15.0
OFFLINE: Final = "Our own line was down: none of the watchdog addresses answered"

Verdict = Callable[[bool], None]


class Watchdog:
    """Asks addresses that are always there, once something seems to be down.

    All calls come from the thread that drives the transfers.
    """

    def __init__(self, urls: Sequence[str], transfers: Transfers) -> None:
        self._urls, self._transfers = urls, transfers
        self._waiting: list[Verdict] = []
        self._open = 0
        self._is_online = True
        self._asked_at = -HOLDS

    def ask(self, tell: Verdict, *, is_news: bool) -> None:
        """Call `tell` with whether we are online; at once if that is known."""
        if not self._urls:
            tell(True)
            return
        holds = HOLDS_FOR_NEWS if is_news else HOLDS
        if not self._open and time.monotonic() - self._asked_at < holds:
            tell(self._is_online)
            return
        self._waiting.append(tell)
        if not self._open:
            self._begin()

    def _begin(self) -> None:
        self._asked_at = time.monotonic()
        self._is_online = False
        self._open = len(self._urls)
        for url in self._urls:
            request = Request(url=url, timeout=TIMEOUT, most_bytes=1024)
            self._transfers.start(request, self._hear)

    def _hear(self, answer: Response | RequestFailed) -> None:
        self._open -= 1
        if isinstance(answer, Response):
            self._is_online = True
        if not self._is_online and self._open:
            return
        if not self._is_online:
            logger.warning(OFFLINE)
        waiting, self._waiting = self._waiting, []
        for tell in waiting:
            tell(self._is_online)
