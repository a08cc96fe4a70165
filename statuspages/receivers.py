from typing import Any

from .models import Snapshot


def mark_pages(**kwargs: Any) -> None:
    """Whatever has happened shows on some page: have them built anew."""
    Snapshot.mark_dirty()
