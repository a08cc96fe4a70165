"""A worker that kills itself at a named point: python -m tests.dying_worker POINT."""

import os
import signal
import sys
import time

import django


def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point):
    """Put the end of the process at the point named."""
    from alerting import evaluation, receivers
    from alerting.models import Transition
    from monitors.signals import results_recorded
    from outbox import delivery

    match point:
        case "after recording":
            results_recorded.disconnect(receivers.evaluate)
            results_recorded.connect(die)
        case "after deciding":
            waiting = Transition.objects.filter(announced_at=None)
            evaluation.announce_some = lambda: waiting.exists() and die()
            evaluation.announce_all = evaluation.announce_some
        case "before delivering":
            delivery.deliver = die
        case "after delivering":
            taken = delivery._hand_over
            delivery._hand_over = lambda message: die(taken(message))
        case _:
            raise SystemExit(f"There is no point {point!r}.")


def main(point):
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    arm(point)

    from alerting.tasks import sweep
    from monitors.tasks import tick
    from outbox.tasks import deliver_due
    from subscriptions.tasks import fan_out_due

    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        for task in (tick, sweep, fan_out_due, deliver_due):
            task.run()
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1])
