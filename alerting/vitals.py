from django.utils import timezone

from monitors import gauges

from .models import Transition


def register() -> None:
    """Make the number of this app known that says whether it keeps up."""
    gauges.register(
        "oldest_unannounced_transition_seconds",
        "Oldest unannounced transition",
        "s",
        lambda: Transition.objects.longest_wait(timezone.now()),
    )
