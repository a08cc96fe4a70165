from django.db import connections


def give_back() -> None:
    """Give this thread's connections back to the pool before waiting for others.

    A dozen threads that wait for slow receivers would otherwise hold all of it.
    Inside a transaction it does nothing: that one has to be ended first.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
