"""What is said at the start, in one line, instead of failing strangely later.

What the settings cannot even be read without is refused in `environment.py`.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register("tocsin")
def check_address(**kwargs: Any) -> list[CheckMessage]:
    parts = urlsplit(settings.TOCSIN_URL)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        problem = "should begin with http:// or https:// and a host name"
    elif parts.path or parts.query or parts.fragment:
        problem = "should end after the host and its port"
    elif parts.username is not None:
        problem = "should carry no user or password"
    else:
        return []
    return [Error(f"TOCSIN_URL {problem}.", id="config.E001")]


@register("tocsin")
def check_home(**kwargs: Any) -> list[CheckMessage]:
    home = Path(settings.TOCSIN_HOME)
    if os.access(home, os.W_OK | os.X_OK):
        return []
    return [
        Error(f"TOCSIN_HOME: {home} cannot be written to.", id="config.E002"),
    ]


@register("tocsin")
def check_timings(**kwargs: Any) -> list[CheckMessage]:
    names = (
        "CHECK_LEASE_SECONDS",
        "DELIVERY_LEASE_SECONDS",
        "WORKER_STUCK_SECONDS",
        "RESULT_RETENTION_DAYS",
        "LATENCY_HOURS_DAYS",
    )
    return [
        Error(f"{name} should be more than 0.", id="config.E003")
        for name in names
        if not getattr(settings, name) > 0
    ]


@register("tocsin")
def check_watchdogs(**kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"WATCHDOG_URLS: address {number} should begin with http:// or https:// "
            "and a host name.",
            id="config.E004",
        )
        for number, url in enumerate(settings.WATCHDOG_URLS, start=1)
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname
    ]
