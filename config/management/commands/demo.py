import os
import re
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand

from config.demo import Tocsin, Town, plain

READER: Final = "reader@example.org"
# How long the page stays red, for whoever is looking at it.
LOOK_SECONDS: Final = 20


class Missed(Exception):
    """A step did not happen in time."""


class Command(BaseCommand):
    help = (
        "Tell the story of an outage in about two minutes, in a throw-away home. "
        "HOLD=1 keeps it up afterwards."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        self.began = time.monotonic()
        self.steps: list[tuple[str, float, float]] = []
        self.hold = os.environ.get("HOLD", "") not in ("", "0")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self.tocsin, self.town = Tocsin(), Town()
        code = 1
        try:
            self._tell()
            code = 0
            self._hold()
        except Missed as missed:
            self._complain(str(missed))
        except KeyboardInterrupt:
            self.stdout.write("\nEnding …")
        finally:
            self.tocsin.end(keep_home=self.hold)
            self.town.shutdown()
            self.town.server_close()
        sys.exit(code)

    # The story

    def _tell(self) -> None:
        self.stdout.write(f"Status page: {self.tocsin.url}   (ready in a moment)\n")
        self.since = datetime.now(UTC)
        self._await("Tocsin is ready", self._ready, 120)
        self._set_up()
        self._await("reader confirmed by mail", self._confirmed)
        self._await("shop is up", lambda: self._check("up", 1))
        self._await("page shows the shop", lambda: self._on_page("Web Shop"))
        self._fail()
        self.stdout.write(f"      … {LOOK_SECONDS} seconds to look at the page …")
        time.sleep(LOOK_SECONDS)
        self._recover()
        self._sum_up()

    def _set_up(self) -> None:
        tocsin = self.tocsin
        tocsin.make_key()
        config = {"url": f"{self.town.url}hooks", "secret": self.town.SECRET}
        hook = tocsin.api("triggers/", name="Hook", kind="webhook", config=config)
        tocsin.api(
            "monitors/",
            tag="shop",
            name="Web Shop",
            kind="http",
            config={"url": self.town.url, "timeout": 2},
            interval=5,
        )
        tocsin.api(
            "alert-rules/",
            name="Shop is down",
            monitors=["shop"],
            alert_for="STATUS",
            alert_value="DOWN",
            failure_threshold=3,
            success_threshold=2,
            severity="CRITICAL",
            create_incident=True,
            triggers=[hook["id"]],
        )
        tocsin.page("subscribe/", {"email": READER})

    def _fail(self) -> None:
        self._note("the shop breaks", datetime.now(UTC))
        self.town.is_broken, self.since = True, datetime.now(UTC)
        for n in (1, 2, 3):
            self._await(f"check failed {n} of 3", partial(self._check, "down", n))
        self._await("alert triggered", lambda: self._alert("triggered_at"))
        self._await("incident opened", lambda: self._incident("INVESTIGATING"))
        self._await("webhook received", lambda: self._hook("alert.triggered"))
        self._await("mail written", lambda: self._mail(resolved=False))
        self._await("page shows it", lambda: self._on_page(self.title))
        kept = settings.TOCSIN_HOME / "demo-page.html"
        kept.write_text(self.tocsin.page_as_file())
        self.stdout.write(f"      … kept as {kept}")

    def _recover(self) -> None:
        self._note("the shop recovers", datetime.now(UTC))
        self.town.is_broken, self.since = False, datetime.now(UTC)
        for n in (1, 2):
            self._await(f"check passed {n} of 2", partial(self._check, "up", n))
        self._await("alert resolved", lambda: self._alert("resolved_at"))
        self._await("incident closed", lambda: self._incident("RESOLVED"))
        self._await("webhook received", lambda: self._hook("alert.resolved"))
        self._await("mail written", lambda: self._mail(resolved=True))
        self._await("page is calm again", self._calm)

    # What is looked at; each answers when it happened, or None if it has not

    def _ready(self) -> datetime | None:
        return datetime.now(UTC) if self.tocsin.is_ready() else None

    def _check(self, status: str, n: int) -> datetime | None:
        found = self.tocsin.checks(self.since, status)
        return found[n - 1] if len(found) >= n else None

    def _alert(self, moment: str) -> datetime | None:
        for alert in self.tocsin.api("alerts/?monitor=shop")["results"]:
            if alert[moment]:
                # That is the moment of the check; it was decided just after.
                return datetime.now(UTC)
        return None

    def _incident(self, state: str) -> datetime | None:
        for incident in self.tocsin.api("incidents/")["results"]:
            if incident["state"] == state:
                self.title = incident["title"]
                return datetime.now(UTC)
        return None

    def _hook(self, kind: str) -> datetime | None:
        for at, body in self.town.received:
            if body["type"] == kind and body["incident"]:
                return at
        return None

    def _mail(self, *, resolved: bool) -> datetime | None:
        for at, mail in self.tocsin.mails():
            about = self.title in str(mail["Subject"]) or self.title in plain(mail)
            if about and mail["To"] == READER and at >= self.since:
                return at
        return None

    def _confirmed(self) -> datetime | None:
        for at, mail in self.tocsin.mails():
            link = re.search(r"/(subscribe/confirm/\S+/)", plain(mail))
            if link and mail["To"] == READER:
                self.tocsin.page(link[1], {})
                return max(at, datetime.now(UTC))
        return None

    def _on_page(self, words: str) -> datetime | None:
        return datetime.now(UTC) if words in self.tocsin.page("") else None

    def _calm(self) -> datetime | None:
        monitor = self.tocsin.api("monitors/shop/")
        open_now = self.tocsin.api("incidents/?open=true")["results"]
        calm = monitor["status"] == "up" and not open_now
        return self._on_page("Resolved") if calm else None

    # How it is told

    def _await(
        self, label: str, happened: Callable[[], datetime | None], seconds: float = 45
    ) -> None:
        until = time.monotonic() + seconds
        while (at := happened()) is None:
            if not self.tocsin.is_alive:
                raise Missed(f"{label}: Tocsin has ended by itself")
            if time.monotonic() > until:
                raise Missed(f"{label}: not within {seconds:g} s")
            time.sleep(0.1)
        self._note(label, at)

    def _note(self, label: str, at: datetime) -> None:
        ago = (datetime.now(UTC) - at).total_seconds()
        elapsed = time.monotonic() - self.began - ago
        step = (at - self.since).total_seconds()
        self.steps.append((label, elapsed, step))
        self.stdout.write(f"{elapsed:6.1f} s  {label}")
        self.stdout.flush()

    def _sum_up(self) -> None:
        self.stdout.write("\n   after start   after turn   what happened")
        for label, elapsed, step in self.steps:
            turn = "" if label.startswith("the shop") else f"{step:8.1f} s"
            self.stdout.write(f"    {elapsed:8.1f} s   {turn:>10}   {label}")
        self.stdout.write("\nAll of it happened by itself.")

    def _complain(self, missed: str) -> None:
        log = self.tocsin.log.read_text().splitlines()
        self.stderr.write("\n".join(log[-30:]))
        self.stderr.write(f"\nThe story broke off. {missed}.")

    def _hold(self) -> None:
        if not self.hold:
            return
        self.stdout.write(
            f"\nStill there, until Ctrl-C: {self.tocsin.url}\n"
            f"    admin   {self.tocsin.url}admin/   {self.tocsin.admin()}\n"
            f"    home    {self.tocsin.home}"
        )
        self.stdout.flush()
        while self.tocsin.is_alive:
            time.sleep(0.5)
