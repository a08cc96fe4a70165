from django.dispatch import Signal

# An alert has been triggered or resolved. Sent by the announcer, in a
# transaction of its own that is repeated until every listener succeeds; a
# listener must be idempotent. Provides: alert (Alert), transition (Transition).
alert_triggered = Signal()
alert_resolved = Signal()

# Alerts that were triggered already have failed again; once for all of a flush.
# Provides: alerts (list of Alert), at.
alerts_still_failing = Signal()
