import json
import time
from collections.abc import Collection
from typing import Any, Final

from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

LOOK_EVERY: Final = 5.0
MARK: Final = "tocsin-entry"


class Schedule(DatabaseScheduler):
    """The tables of django-celery-beat, looked at for edits every five seconds.

    As shipped it asks the database on each of the clock's steps, several times
    a second: half of what the clock costs. And it keeps for ever what was once
    in the settings.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._looked_at = 0.0
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        forget_removed(self.app.conf.beat_schedule)
        super().setup_schedule()

    def update_from_dict(self, mapping: dict[str, dict[str, Any]]) -> None:
        super().update_from_dict(
            {name: marked(name, entry) for name, entry in mapping.items()}
        )

    def schedule_changed(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY:
            return False
        self._looked_at = now
        return bool(super().schedule_changed())

    def adjust(self, n: float | None, drift: float = 0.010) -> float | None:
        """Come a little late. As shipped it comes early, and spins until it is time."""
        adjusted: float | None = super().adjust(n, drift)
        return adjusted

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Ring what is due; return the seconds until there is something to do."""
        wait = super().tick(*args, **kwargs)
        return max(0.0, min(wait, self._looked_at + LOOK_EVERY - time.monotonic()))


def marked(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with a header that says it came from the settings by this name.

    With the name, because what an operator has made out of ours, by copying or
    by renaming it, is the operator's.
    """
    options = entry.get("options", {})
    headers = {**options.get("headers", {}), MARK: name}
    return {**entry, "options": {**options, "headers": headers}}


def forget_removed(names: Collection[str]) -> None:
    """Delete what came from the settings and is no longer in them."""
    for row in PeriodicTask.objects.exclude(name__in=names):
        if _mark(row) == row.name:
            row.delete()


def _mark(row: PeriodicTask) -> str | None:
    try:
        mark: str | None = json.loads(row.headers).get(MARK)
    except ValueError:
        return None
    return mark
