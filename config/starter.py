"""What an empty Tocsin begins with: somebody who may enter, something to see."""

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils.crypto import get_random_string

from alerting.models import AlertRule
from egress.kinds import as_config
from monitors.checkers.tocsin import TocsinChecker
from monitors.models import Monitor
from statuspages.models import StatusPage

# Nothing that looks like another character: it is read from a screen.
LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


def make_first_admin() -> tuple[str, str] | None:
    """Make the first superuser; return name and password, or None if there is one."""
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists():
        return None
    name = "admin"
    while users.filter(username=name).exists():
        name = f"admin-{get_random_string(4, LETTERS)}"
    password = "-".join(get_random_string(5, LETTERS) for _ in range(4))
    users.create_superuser(name, password=password)
    return name, password


@transaction.atomic
def watch_ourselves() -> bool:
    """Give an installation without any monitor, ever, its own health to watch.

    Monitors are retired, not deleted: one that is there at all means that
    somebody has begun.
    """
    StatusPage.default()
    if Monitor.objects.exists():
        return False
    watch(
        Monitor(
            tag="tocsin", name="Tocsin", config={"url": f"{own_address()}/healthz"}
        ),
        AlertRule(
            name="Tocsin is down", description="Tocsin does not answer its own checks."
        ),
    )
    watch(
        Monitor(
            tag="tocsin-engine",
            name="Tocsin engine",
            kind="tocsin",
            config=as_config(TocsinChecker()),
        ),
        AlertRule(
            name="Tocsin does not keep up",
            description="Checks start late, or the word does not get out.",
        ),
    )
    return True


def watch(monitor: Monitor, rule: AlertRule) -> None:
    monitor.full_clean()
    monitor.save()
    rule.save()
    rule.watch([monitor])


def own_address() -> str:
    """Where the web process is reached from beside it, whatever TOCSIN_URL says."""
    host = settings.HOST
    if host in ("", "0.0.0.0", "::"):
        host = "127.0.0.1"
    if ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{settings.PORT}"
