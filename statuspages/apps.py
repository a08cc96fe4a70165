from django.apps import AppConfig

from incidents.signals import (
    incident_deleted,
    incident_published,
    incident_reopened,
    incident_resolved,
    incident_updated,
)
from monitors.signals import (
    monitor_paused,
    monitor_resumed,
    monitor_retired,
    status_changed,
)


class StatusPagesConfig(AppConfig):
    name = "statuspages"
    verbose_name = "Status pages"

    def ready(self) -> None:
        from . import receivers

        status_changed.connect(receivers.mark_pages)
        monitor_paused.connect(receivers.mark_pages)
        monitor_resumed.connect(receivers.mark_pages)
        monitor_retired.connect(receivers.mark_pages)
        incident_published.connect(receivers.mark_pages)
        incident_updated.connect(receivers.mark_pages)
        incident_resolved.connect(receivers.mark_pages)
        incident_reopened.connect(receivers.mark_pages)
        incident_deleted.connect(receivers.mark_pages)
