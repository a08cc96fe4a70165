"""What the tests of channels say: an alert, plain news, and the worst of texts."""

from datetime import UTC, datetime

from outbox.channels import Content, Envelope

KEY = "5f1c6f0e-52a5-4f0b-9d5c-0f6a0c3b7e11"
AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
URL = "http://tocsin.test/admin/alerting/alert/7/change/"
# Of the address of the site and the topic below.
THREAD_KEY = "tocsin-feaeb0b452152393cb029866aad0be0d"

HOSTILE = (
    "\"quotes\" 'and' \\ <script>alert(1)</script> & &amp; <!channel> <users/all> "
    "@everyone @all @channel @room\r\n# *bold* _it_ ~no~ `code` ||x|| > q\n- item\n"
    "[link](javascript:alert(1)) {{ settings.SECRET_KEY }} ${x} {% now %}\x00\x1b[31m"
    "\ud800 \N{GRINNING FACE}\u2028end"
)
LONG = HOSTILE + '\N{GRINNING FACE}<&"\n' * 2000


def envelope(**more):
    said = {"topic": "alert:7", "created_at": AT, "attempted_at": AT}
    return Envelope(**{"key": KEY, "destination": "", **said, **more})


def alert(kind="alert.triggered", subject="CRITICAL: Shop is down", **more):
    """What a notice of an alert holds; `more` is of the alert."""
    over = kind == "alert.resolved"
    values = {
        "type": kind,
        "alert": {
            "id": 7,
            "name": "Shop is down",
            "state": "RESOLVED" if over else "TRIGGERED",
            "is_triggered": not over,
            "is_resolved": over,
            "severity": "CRITICAL",
            "description": "Sells *nothing*.",
            "failure_threshold": 3,
            "success_threshold": 2,
            "observed": "DOWN",
            "error": "Connection refused",
            "reason": "3 failures in a row",
            "began_at": "2026-03-01T11:59:00.250000Z",
            "triggered_at": "2026-03-01T12:00:00Z",
            "resolved_at": "2026-03-01T13:01:02Z" if over else None,
            "duration_seconds": 3722.4 if over else None,
            "url": URL,
            **more,
        },
        "rule": {"id": 1, "name": "Down for three checks"},
        "monitor": {
            "tag": "shop",
            "name": "Shop",
            "kind": "http",
            "url": "http://tocsin.test/admin/monitors/monitor/1/change/",
        },
        "incident": None,
        "site": {"url": "http://tocsin.test"},
    }
    return Content(subject=subject, text="The mail's text", values=values)


def resolved(**more):
    return alert("alert.resolved", "Resolved: Shop is down", **more)


def news(subject="Test of Chat from Tocsin", text="Nothing is wrong.", kind="test"):
    """What is not about an alert."""
    site = {"url": "http://tocsin.test"}
    return Content(subject=subject, text=text, values={"type": kind, "site": site})


def hostile(*, surrogate=True):
    """An alert all of whose texts are as bad as they can be."""
    bad = LONG if surrogate else LONG.replace("\ud800", "")
    names = ("description", "error", "reason", "observed", "name")
    values = dict(alert(**dict.fromkeys(names, bad)).values)
    values["monitor"] = {"tag": bad, "name": bad}
    values["rule"] = {"name": bad}
    return Content(subject=bad, text=bad, html=bad, values=values)


FACTS = {
    "Monitor": "Shop (shop)",
    "Severity": "CRITICAL",
    "Rule": "Down for three checks",
    "Observed": "DOWN",
    "Thresholds": "3 to trigger, 2 to resolve",
    "Began": "2026-03-01 11:59:00 UTC",
    "Triggered": "2026-03-01 12:00:00 UTC",
}
TEXT = "Sells *nothing*.\n3 failures in a row\nLast error: Connection refused"
