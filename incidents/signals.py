from django.dispatch import Signal

# An incident has become public, with its first update.
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

# An incident was deleted: nothing of it is to be told any more.
# Provides: incident (Incident).
incident_deleted = Signal()
