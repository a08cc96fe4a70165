from django.apps import AppConfig

from incidents.signals import (
    incident_deleted,
    incident_published,
    incident_reopened,
    incident_resolved,
    incident_split,
    incident_updated,
    maintenance_cancelled,
    maintenance_changed,
    maintenance_completed,
    maintenance_scheduled,
    maintenance_started,
    severities_renamed,
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
        incident_split.connect(receivers.keep_to_its_pages)
        maintenance_scheduled.connect(receivers.mark_pages)
        maintenance_started.connect(receivers.mark_pages)
        maintenance_changed.connect(receivers.mark_pages)
        maintenance_completed.connect(receivers.mark_pages)
        maintenance_cancelled.connect(receivers.mark_pages)
        severities_renamed.connect(receivers.mark_pages)
