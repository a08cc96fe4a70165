"""Asks for news of incidents that go on without any.

When that is due stands in `patience`; each change of an incident writes down the
moment, and here is who looks for those that have come.
"""

import logging
from datetime import datetime
from typing import Final

from django.db import transaction

from . import telling
from .models import Automation, Incident

logger = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 500


def sweep(at: datetime) -> None:
    """Ask about each that is due; one query if none is, and who fails stops no other."""
    due = Incident.objects.filter(nag_at__lte=at).order_by("nag_at", "pk")
    found = list(due[:MOST_AT_ONCE])
    if not found:
        return
    settings = Automation.current()
    for incident in found:
        try:
            _nag(incident, settings, at)
        except Exception:
            logger.exception("Nobody could be asked about %s", incident)


@transaction.atomic
def _nag(incident: Incident, settings: Automation, at: datetime) -> None:
    """Ask once, however often that was due while nobody looked."""
    if incident.count_nag(settings.patience, at=at):
        asked = telling.nag(incident, settings)
        incident.note_nag(asked, at=at)
