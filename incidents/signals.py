from django.dispatch import Signal

# An incident has become public, with its first update; without one if it was
# entered afterwards, and nobody is to be told.
# All five are sent inside the transaction of the change; a listener writes a
# row and returns. Provides: incident (Incident), update (IncidentUpdate).
incident_published = Signal()

# A public incident has a new update that neither resolves nor reopens it, or a
# change of what is shown (then update is None).
incident_updated = Signal()

# A public incident has ended.
incident_resolved = Signal()

# A resolved public incident goes on.
incident_reopened = Signal()

# An incident was deleted, or merged into another: nothing of it is to be told
# any more.
# Provides: incident (Incident).
incident_deleted = Signal()

# What severities are called was changed. Sent inside the transaction.
# Provides: labels (SeverityLabels).
severities_renamed = Signal()

# An incident was split, before anybody hears of the new one.
# Provides: incident (Incident), made (Incident).
incident_split = Signal()

# A maintenance is planned; its first date tells of it.
# All six are sent inside the transaction of the change. Provides: occurrence
# (Occurrence), update (OccurrenceUpdate, or None if nothing was said).
maintenance_scheduled = Signal()

# A reminder of a date is due. Provides besides: minutes before its start.
maintenance_reminded = Signal()

# A date has begun.
maintenance_started = Signal()

# A date has another time, is verified, or there is something new about it; with
# update None only what is shown has changed.
maintenance_changed = Signal()

# A date has ended as planned, or by hand.
maintenance_completed = Signal()

# A date is called off.
maintenance_cancelled = Signal()
