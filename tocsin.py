#!/usr/bin/env python3
"""Tocsin from anywhere: open, update, resolve and list incidents over its API.

One file, the standard library only, Python 3.9 or newer: copy it to where it is
needed. `manage.py incident` takes its words and its output from here, so that
both stay the same.
"""

from __future__ import annotations

import argparse
import configparser
import http.client
import json
import math
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol
from urllib.parse import urlencode, urlsplit

VERSION = "0.1.0"

# How it ends
OK = 0
REFUSED = 1
WRONG_USAGE = 2
NOT_REACHABLE = 3
NO_PERMISSION = 4
NOT_FOUND = 5
CONFLICT = 6
INTERRUPTED = 130

STATES = ("investigating", "identified", "monitoring", "resolved")
SEVERITIES = ("minor", "major", "critical")
IMPACTS = ("DOWN", "PARTIAL", "DEGRADED")
RESOLVED = "This is resolved."
NOTHING_OPEN = "No incident is open."

ENDINGS = {401: NO_PERMISSION, 403: NO_PERMISSION, 404: NOT_FOUND, 409: CONFLICT}
# Another attempt may find it well again.
PASSING = (429, 502, 503, 504)
PAUSES = (0.5, 1.5)
MOST_PAGE = 500
MOST_BYTES = 32 << 20

KEY = re.compile(r"toc_[0-9A-Za-z]+_[0-9A-Za-z_-]+")
# What the API calls it, and what it is called here.
OPTIONS = {
    "title": "TITLE",
    "summary": "--message",
    "body": "--message",
    "state": "--state",
    "severity": "--severity",
    "monitors": "--affects",
    "started_at": "--started-at",
}
COLOURS = {"red": "\033[31m", "yellow": "\033[33m", "dim": "\033[2m"}
NO_COLOUR = "\033[0m"

Row = dict[str, Any]


class Failed(Exception):
    """It was not done: how to end, and why, in lines."""

    def __init__(self, code: int, *lines: str) -> None:
        super().__init__(*lines)
        self.code, self.lines = code, lines


class Desk(Protocol):
    """Where incidents are kept: behind the API, or in this machine's database."""

    def find(self, number: int) -> Row: ...

    def open(self, fields: Row) -> Row: ...

    def tell(self, incident: Row, state: str, body: str) -> Row:
        """Write an update; without a state it leaves the state as it is."""

    def listed(self, filters: Mapping[str, str], limit: int) -> list[Row]: ...


def no_incident(number: int) -> Failed:
    return Failed(NOT_FOUND, f"There is no incident {number}.")


# What can be asked


class Parser(argparse.ArgumentParser):
    """Complains without repeating a key or an escape sequence that was given."""

    def error(self, message: str) -> NoReturn:
        super().error(clean(message))


def add_actions(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Add what can be done with incidents; return the parser of each action."""
    kinds = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    made = {}
    for name, (words, shape) in SHAPES.items():
        # An abbreviation that works today may be another option tomorrow.
        made[name] = kinds.add_parser(
            name, help=words, description=words, allow_abbrev=False
        )
        shape(made[name])
        made[name].add_argument("--json", action="store_true", help="answer as JSON")
    return made


def _shape_open(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("title", metavar="TITLE", type=text)
    _add_message(parser, "what people should know, in Markdown")
    parser.add_argument("--severity", type=str.lower, choices=SEVERITIES)
    parser.add_argument(
        "--affects",
        action="append",
        type=impact,
        default=[],
        metavar="TAG[:IMPACT]",
        help="a monitor and whether it is DOWN (unless given), PARTIAL or DEGRADED; "
        "may be given several times",
    )
    parser.add_argument(
        "--started-at",
        type=text,
        metavar="ISO",
        help="when it began, in UTC unless there is an offset; now unless given",
    )


def _shape_update(parser: argparse.ArgumentParser) -> None:
    _add_number(parser)
    parser.add_argument(
        "--state", type=str.lower, choices=STATES, help="as it is, unless given"
    )
    _add_message(parser, "what is new, in Markdown")


def _shape_resolve(parser: argparse.ArgumentParser) -> None:
    _add_number(parser)
    _add_message(parser, f'the last word, in Markdown; "{RESOLVED}" unless given')


def _shape_list(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--open", action="store_true", help="what goes on; the default")
    which.add_argument("--all", action="store_true", help="what is over, too")
    which.add_argument("--state", type=str.lower, choices=STATES)
    parser.add_argument("--limit", type=count, default=50, metavar="N", help="or 50")


def _add_number(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", type=count, help="as list shows it")


def _add_message(parser: argparse.ArgumentParser, words: str) -> None:
    parser.add_argument(
        "--message", type=text, metavar="TEXT", help=f"{words}; - reads standard input"
    )


SHAPES: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "open": ("Open a public incident; whoever subscribed is told.", _shape_open),
    "update": ("Tell something new of an incident.", _shape_update),
    "resolve": ("Say that an incident is over.", _shape_resolve),
    "list": ("List incidents, newest first.", _shape_list),
}


def text(given: str) -> str:
    """Accept what can be written down: bytes that are no UTF-8 cannot."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("this is no UTF-8") from None
    return given


def count(given: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", given) or not int(given):
        raise argparse.ArgumentTypeError("give a whole number from 1")
    return int(given)


def seconds(given: str) -> float:
    try:
        found = float(given)
    except ValueError:
        found = math.nan
    if not 0 < found <= 3600:
        raise argparse.ArgumentTypeError("give seconds, up to 3600")
    return found


def impact(given: str) -> Row:
    """Read shop, or shop:PARTIAL; no tag has a colon in it."""
    tag, _, level = text(given).partition(":")
    level = level.upper() or IMPACTS[0]
    if level not in IMPACTS or not tag:
        raise argparse.ArgumentTypeError(f"give TAG, or TAG:{'|'.join(IMPACTS)}")
    return {"tag": tag, "impact": level}


# What is done


def perform(desk: Desk, chosen: argparse.Namespace, screen: Screen) -> None:
    """Do what was chosen; raise Failed if it was not done."""
    ACTIONS[chosen.action](desk, chosen, screen)


def attempt(doing: Callable[[], None], screen: Screen) -> int:
    """Return how it ended, having said why."""
    try:
        doing()
        screen.flush()
    except Failed as failed:
        screen.complain(*failed.lines)
        return failed.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever was reading has seen enough, as head has. Python would complain
        # of what is left in the buffer when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK


def open_incident(desk: Desk, chosen: argparse.Namespace, screen: Screen) -> None:
    fields = {
        "title": chosen.title,
        "summary": message(chosen),
        "started_at": chosen.started_at or datetime.now(timezone.utc).isoformat(),
        "monitors": chosen.affects,
    }
    if chosen.severity:
        fields["severity"] = chosen.severity
    incident = desk.open(fields)
    _confirm(incident, incident, chosen, screen)


def update(desk: Desk, chosen: argparse.Namespace, screen: Screen) -> None:
    incident = desk.find(chosen.id)
    written = desk.tell(incident, (chosen.state or "").upper(), message(chosen))
    _confirm(incident, written, chosen, screen)


def resolve(desk: Desk, chosen: argparse.Namespace, screen: Screen) -> None:
    """Resolve once: people are not told again of what they know."""
    incident = desk.find(chosen.id)
    if incident.get("state") == "RESOLVED" and chosen.message is None:
        written = _last_word(incident)
    else:
        written = desk.tell(incident, "RESOLVED", message(chosen, RESOLVED))
    _confirm(incident, written, chosen, screen)


def _last_word(incident: Row) -> Row:
    """Return the update that resolved it."""
    told = incident.get("updates") or []
    return next((one for one in told if one.get("state") == "RESOLVED"), incident)


def list_incidents(desk: Desk, chosen: argparse.Namespace, screen: Screen) -> None:
    filters = {} if chosen.all else {"open": "true"}
    if chosen.state:
        filters = {"state": chosen.state.upper()}
    # One more, to know whether there are more.
    found = desk.listed(filters, chosen.limit + 1)
    if chosen.json:
        screen.dump(found[: chosen.limit])
        return
    nothing = NOTHING_OPEN if "open" in filters else "There is no such incident."
    show_incidents(found[: chosen.limit], screen, nothing)
    if len(found) > chosen.limit:
        screen.complain(f"There are more; --limit {chosen.limit * 2} shows more.")


ACTIONS: dict[str, Callable[[Desk, argparse.Namespace, Screen], None]] = {
    "open": open_incident,
    "update": update,
    "resolve": resolve,
    "list": list_incidents,
}


def _confirm(
    incident: Row, written: Row, chosen: argparse.Namespace, screen: Screen
) -> None:
    """Say in one line, easy to cut, which it is, how it is now, and where."""
    if chosen.json:
        screen.dump(written)
        return
    state = str(written.get("state", "")).lower()
    screen.say(f"{incident.get('id')} {state} {incident.get('url', '')}")


def message(chosen: argparse.Namespace, default: str = "") -> str:
    """Return what is to be told: as given, from standard input, or as typed now."""
    if chosen.message == "-":
        return _read_all()
    if chosen.message is not None or default:
        return chosen.message or default
    if not sys.stdin.isatty():
        raise Failed(WRONG_USAGE, "Give --message TEXT, or --message - to read it.")
    return edited()


def _read_all() -> str:
    try:
        return text(sys.stdin.read())
    except (UnicodeDecodeError, argparse.ArgumentTypeError):
        raise Failed(WRONG_USAGE, "What was read is no UTF-8.") from None


def edited() -> str:
    """Let a person write in the editor of their choice."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise Failed(WRONG_USAGE, "Give --message TEXT, or name an editor in EDITOR.")
    with tempfile.TemporaryDirectory(prefix="tocsin-") as folder:
        path = Path(folder, "message.md")
        path.touch()
        _run(editor, path)
        written = path.read_text("utf-8", "replace")
    if not written.strip():
        raise Failed(WRONG_USAGE, "Nothing was written, so nothing was done.")
    return written


def _run(editor: str, path: Path) -> None:
    try:
        subprocess.run([*shlex.split(editor), str(path)], check=True)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise Failed(
            WRONG_USAGE, f"The editor failed, nothing was done: {error}"
        ) from None


# How it is shown


class Screen:
    """Where it is said; what comes from elsewhere is made harmless first."""

    def __init__(self, out: Any, err: Any, *, plain: bool = False) -> None:
        self.out, self.err = out, err
        self.is_terminal = bool(out.isatty())
        plain = plain or bool(os.environ.get("NO_COLOR"))
        self.has_colours = (
            self.is_terminal and not plain and os.environ.get("TERM") != "dumb"
        )

    @property
    def columns(self) -> int:
        """How wide a line may be; a file or a pipe has room for everything."""
        return shutil.get_terminal_size().columns if self.is_terminal else sys.maxsize

    def say(self, line: str, colour: str = "") -> None:
        line = clean(line)
        if colour and self.has_colours:
            line = f"{COLOURS[colour]}{line}{NO_COLOUR}"
        self._write(self.out, line)

    def complain(self, *lines: str) -> None:
        self.flush()
        for line in lines:
            self._write(self.err, clean(line))

    def dump(self, found: Any) -> None:
        """Write JSON: in ASCII, in which nothing of a terminal's can hide."""
        self._write(self.out, KEY.sub("toc_***", json.dumps(found, indent=2)))

    def flush(self) -> None:
        self.out.flush()

    def _write(self, stream: Any, line: str) -> None:
        """Write a line, whatever the terminal's encoding lacks."""
        encoding = getattr(stream, "encoding", None) or "utf-8"
        shown = line.encode(encoding, "backslashreplace").decode(encoding)
        stream.write(f"{shown}\n")


def clean(given: str) -> str:
    """Make a text one harmless line: no escape sequences, no turned writing, no key."""
    return "".join(map(_clean, KEY.sub("toc_***", given)))


def _clean(character: str) -> str:
    if character in "\n\r\t":
        return " "
    # Two joiners are kept: some languages and emoji are wrong without them.
    is_odd = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    if is_odd and character not in "\u200c\u200d":
        return character.encode("unicode_escape").decode()
    return character


def width(shown: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(map(_width, shown))


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shortened(shown: str, room: int) -> str:
    if width(shown) <= room:
        return shown
    kept, left = [], room - 1
    for character in shown:
        left -= _width(character)
        if left < 0:
            break
        kept.append(character)
    return f"{''.join(kept).rstrip()}…"


def show_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    screen: Screen,
    colours: Sequence[str],
) -> None:
    """Show rows below each other; the last column takes what room is left."""
    cells = [[clean(cell) for cell in row] for row in (heads, *rows)]
    most = 40 if screen.is_terminal else sys.maxsize
    cells = [[*(shortened(c, most) for c in row[:-1]), row[-1]] for row in cells]
    widths = [max(map(width, column)) for column in list(zip(*cells))[:-1]]
    for row, colour in zip(cells, ("", *colours)):
        padded = [c + " " * (wide - width(c)) for c, wide in zip(row, widths)]
        line = "  ".join([*padded, row[-1]]).rstrip()
        screen.say(shortened(line, screen.columns), colour)


def show_incidents(found: list[Row], screen: Screen, nothing: str) -> None:
    if not found:
        screen.say(nothing)
        return
    heads = ("ID", "STATE", "SEVERITY", "STARTED (UTC)", "TITLE")
    rows = [
        (
            str(incident.get("id", "")),
            state_of(incident),
            str(incident.get("severity", "")),
            moment(incident.get("started_at")),
            str(incident.get("title", "")),
        )
        for incident in found
    ]
    show_table(heads, rows, screen, [_colour(incident) for incident in found])


def state_of(incident: Row) -> str:
    """Name the state; what is not public is told by that alone."""
    if incident.get("discarded_at"):
        return "discarded"
    if incident.get("is_draft"):
        return "draft"
    return str(incident.get("state", "")).lower()


def _colour(incident: Row) -> str:
    if state_of(incident) in ("resolved", "discarded"):
        return "dim"
    by_severity = {"critical": "red", "major": "yellow"}
    return by_severity.get(str(incident.get("severity", "")), "")


def moment(given: Any) -> str:
    try:
        found = datetime.fromisoformat(str(given).replace("Z", "+00:00"))
        return found.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):
        return "" if given is None else str(given)


def sentences(errors: Any, path: str = "") -> list[str]:
    """Say for each field, by the name of its option, why it was refused."""
    if isinstance(errors, Mapping):
        return [
            line
            for name, inner in errors.items()
            for line in sentences(inner, _below(path, str(name)))
        ]
    if isinstance(errors, (list, tuple)):
        return [line for inner in errors for line in sentences(inner, path)]
    return [f"{path}: {errors}" if path else str(errors)]


def _below(path: str, name: str) -> str:
    if name == "non_field_errors":
        return path
    return f"{path} {name}" if path else OPTIONS.get(name, name)


# Over the API


class Lost(Exception):
    """There was no answer; what was not even sent cannot have been done."""

    def __init__(self, why: str, *, was_sent: bool) -> None:
        super().__init__(why)
        self.was_sent = was_sent


class Answer(NamedTuple):
    status: int
    body: bytes
    leads_to: str


class Server:
    """Tocsin behind its API."""

    def __init__(self, url: str, key: str, timeout: float) -> None:
        self.url, self.key, self.timeout = checked(url), key, timeout

    def find(self, number: int) -> Row:
        try:
            return self._ask("GET", f"incidents/{number}/")
        except Failed as failed:
            raise no_incident(number) if failed.code == NOT_FOUND else failed from None

    def open(self, fields: Row) -> Row:
        return self._ask("POST", "incidents/", fields)

    def tell(self, incident: Row, state: str, body: str) -> Row:
        update = {"state": state or incident.get("state"), "body": body}
        return self._ask("POST", f"incidents/{incident.get('id')}/updates/", update)

    def listed(self, filters: Mapping[str, str], limit: int) -> list[Row]:
        return self._pages("incidents/", filters, limit)

    def monitors(self) -> list[Row]:
        return self._pages("monitors/", {"is_active": "true"}, sys.maxsize)

    def _pages(self, path: str, filters: Mapping[str, str], limit: int) -> list[Row]:
        query = urlencode({**filters, "page_size": min(limit, MOST_PAGE)})
        found: list[Row] = []
        while query and len(found) < limit:
            page = self._ask("GET", f"{path}?{query}")
            rows = page.get("results") or []
            found += rows
            # Only the query is followed: the key goes nowhere but where we asked.
            query = urlsplit(page.get("next") or "").query if rows else ""
        return found[:limit]

    def _ask(self, method: str, path: str, fields: Row | None = None) -> Row:
        """Ask, and ask again where that cannot do anything twice."""
        pauses = list(PAUSES)
        while True:
            try:
                answer = self._exchange(method, path, fields)
            except Lost as lost:
                if lost.was_sent and method != "GET":
                    raise self._doubtful(lost) from None
                if not pauses:
                    raise self._unreachable(str(lost)) from None
            else:
                may_pass = method == "GET" and answer.status in PASSING
                if not (may_pass and pauses):
                    return self._judged(answer)
            time.sleep(pauses.pop(0))

    def _exchange(self, method: str, path: str, fields: Row | None) -> Answer:
        connection = self._connection()
        try:
            self._connect(connection)
            connection.request(
                method,
                f"{urlsplit(self.url).path}/api/v1/{path}",
                None if fields is None else json.dumps(fields).encode(),
                self._headers(),
            )
            answer = connection.getresponse()
            leads_to = answer.getheader("Location") or ""
            return Answer(answer.status, answer.read(MOST_BYTES), leads_to)
        except (OSError, http.client.HTTPException) as error:
            raise Lost(self._why(error), was_sent=True) from None
        finally:
            connection.close()

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            # To ask again would not make it any more trustworthy.
            why = f"its certificate is not trusted: {error.verify_message}"
            raise self._unreachable(why) from None
        except OSError as error:
            raise Lost(self._why(error), was_sent=False) from None

    def _connection(self) -> http.client.HTTPConnection:
        url = urlsplit(self.url)
        host, port = url.hostname or "", url.port
        if url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self.timeout)
        trusted = ssl.create_default_context()
        return http.client.HTTPSConnection(
            host, port, timeout=self.timeout, context=trusted
        )

    def _headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.key}",
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": f"tocsin/{VERSION}",
        }

    def _why(self, error: Exception) -> str:
        # Before Python 3.10 these were two.
        if isinstance(error, (TimeoutError, socket.timeout)):
            return f"nothing came within {self.timeout:g} s"
        return getattr(error, "strerror", None) or str(error) or type(error).__name__

    def _judged(self, answer: Answer) -> Row:
        """Return what was answered, or say why it is no success."""
        found = _parsed(answer.body)
        if 300 <= answer.status < 400:
            raise self._unreachable(f"it sends us on to {answer.leads_to}; ask there")
        is_problem = answer.status >= 400 and "detail" in (found or {})
        if found is None or (answer.status >= 400 and not is_problem):
            raise self._unreachable(f"{answer.status}, and not as its API answers")
        if is_problem:
            code = ENDINGS.get(answer.status, REFUSED)
            if answer.status >= 500 or answer.status == 429:
                code = NOT_REACHABLE
            raise Failed(code, *sentences(found.get("errors") or found["detail"]))
        return found

    def _doubtful(self, why: Lost) -> Failed:
        return Failed(
            NOT_REACHABLE,
            f"Tocsin at {self.url} was asked, but gave no answer: {why}.",
            "It may have been done all the same; look before you try again.",
        )

    def _unreachable(self, why: str) -> Failed:
        return Failed(NOT_REACHABLE, f"Tocsin cannot be reached at {self.url}: {why}.")


def _parsed(body: bytes) -> Row | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def checked(url: str) -> str:
    """Return the address without a slash at its end, if it is one."""
    wrong = Failed(WRONG_USAGE, "The address should be as https://status.example.com.")
    try:
        parts = urlsplit(url)
        has_host = bool((parts.hostname or "").encode("idna")) and parts.port != 0
    except ValueError:
        raise wrong from None
    is_plain = re.fullmatch("[!-~]+", url) and not set("?#@") & set(url)
    if not has_host or not is_plain or parts.scheme not in ("http", "https"):
        raise wrong
    return url.rstrip("/")


# Where it is, and with which key


def reached(chosen: argparse.Namespace) -> Server:
    """Return the server that options, the environment or the file name."""
    url = (chosen.url or os.environ.get("TOCSIN_URL", "")).rstrip("/")
    key = _key_file(chosen.key_file) or os.environ.get("TOCSIN_KEY", "").strip()
    if not (url and key):
        kept = kept_settings(settings_path())
        kept_url = kept.get("url", "").rstrip("/")
        url = url or kept_url
        # The key in the file is for the server in the file, and for no other.
        key = key or (kept.get("key", "") if url == kept_url else "")
    if not url:
        raise Failed(WRONG_USAGE, "Say where Tocsin is: --url or TOCSIN_URL.")
    if not KEY.fullmatch(key):
        lacks = "This is no key of Tocsin" if key else f"There is no key for {url}"
        raise Failed(WRONG_USAGE, f"{lacks}: give TOCSIN_KEY or --key-file.")
    return Server(url, key, chosen.timeout)


def _key_file(path: str | None) -> str:
    if not path:
        return ""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(4096).strip() or "nothing"
    except OSError as error:
        raise Failed(WRONG_USAGE, f"{path}: {error.strerror}") from None


def settings_path() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(home, "tocsin")


def kept_settings(path: Path) -> Mapping[str, str]:
    """Read url and key; refuse a file that others may read."""
    found = configparser.ConfigParser(interpolation=None)
    try:
        with path.open(encoding="utf-8") as file:
            refuse_shared(path, os.fstat(file.fileno()).st_mode)
            found.read_file(file)
        return found["tocsin"]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Failed(WRONG_USAGE, f"{path}: {error.strerror}") from None
    except (configparser.Error, KeyError, UnicodeDecodeError):
        # The parser's own words would repeat the line, which may be the key.
        wanted = f"{path} should have url = … and key = … below [tocsin]."
        raise Failed(WRONG_USAGE, wanted) from None


def refuse_shared(path: Path, mode: int) -> None:
    if os.name == "posix" and mode & 0o077:
        do = f"chmod 600 {shlex.quote(str(path))}"
        raise Failed(WRONG_USAGE, f"Others may read {path}, and the key in it: {do}")


# The command


def show_status(server: Server, chosen: argparse.Namespace, screen: Screen) -> None:
    """Show the incidents that are open and the monitors that are not up."""
    incidents = server.listed({"open": "true"}, MOST_PAGE)
    monitors = [row for row in server.monitors() if row.get("status") != "up"]
    if chosen.json:
        screen.dump({"incidents": incidents, "monitors": monitors})
        return
    show_incidents(incidents, screen, NOTHING_OPEN)
    screen.say("")
    show_monitors(monitors, screen)


def show_monitors(monitors: list[Row], screen: Screen) -> None:
    if not monitors:
        screen.say("Every monitor is up.")
        return
    heads = ("MONITOR", "STATUS", "CHECKED (UTC)", "REASON")
    rows = [
        (
            str(monitor.get("tag", "")),
            str(monitor.get("status", "")),
            moment(monitor.get("checked_at")),
            str(monitor.get("error", "")),
        )
        for monitor in monitors
    ]
    colours = {"down": "red", "partial": "yellow", "degraded": "yellow"}
    show_table(heads, rows, screen, [colours.get(row[1], "") for row in rows])


def build_parser() -> Parser:
    parser = Parser(
        prog="tocsin", description="Tocsin from anywhere.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"tocsin {VERSION}")
    parser.set_defaults(url=None, key_file=None, timeout=10.0)
    areas = parser.add_subparsers(dest="area", metavar="COMMAND", required=True)
    words = "Open, update, resolve and list incidents."
    incident = areas.add_parser(
        "incident", help=words, description=words, allow_abbrev=False
    )
    words = "Show open incidents and the monitors that are not up."
    status = areas.add_parser(
        "status", help=words, description=words, allow_abbrev=False
    )
    status.add_argument("--json", action="store_true", help="answer as JSON")
    for one in (parser, status, *add_actions(incident).values()):
        _add_connection(one)
    return parser


def _add_connection(parser: argparse.ArgumentParser) -> None:
    """Let it be said before and after the command; whichever is said counts."""
    unless = argparse.SUPPRESS
    parser.add_argument("--url", default=unless, help="where it is, or TOCSIN_URL")
    parser.add_argument(
        "--key-file",
        default=unless,
        metavar="FILE",
        help="a file with the key, or TOCSIN_KEY has it",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=unless,
        metavar="SECONDS",
        help="to wait for each answer, or 10",
    )


def run(chosen: argparse.Namespace, screen: Screen) -> None:
    server = reached(chosen)
    _warn_unencrypted(server, screen)
    if chosen.area == "status":
        show_status(server, chosen, screen)
    else:
        perform(server, chosen, screen)


def _warn_unencrypted(server: Server, screen: Screen) -> None:
    url = urlsplit(server.url)
    if url.scheme == "http" and url.hostname not in ("localhost", "127.0.0.1", "::1"):
        screen.complain("Warning: without https, others on the way may read the key.")


def main() -> int:
    chosen = build_parser().parse_args()
    screen = Screen(sys.stdout, sys.stderr)
    return attempt(lambda: run(chosen, screen), screen)


if __name__ == "__main__":
    sys.exit(main())
