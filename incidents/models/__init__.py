from .automation import Automation, Refused, badge_of, badges
from .incident import Incident, IncidentQuerySet
from .maintenance import Maintenance, MaintenanceImpact
from .maintenance_settings import MaintenanceSettings
from .occurrence import Occurrence, OccurrenceImpact, OccurrenceUpdate, Reminder
from .relation import Relation
from .search_text import SearchText
from .severity_labels import SeverityLabels
from .state import State
from .story import Impact, IncidentAlert, IncidentUpdate, UpdateVersion
from .template import UpdateTemplate
from .timeline import Author, TimelineEntry

__all__ = [
    "Author",
    "Automation",
    "Impact",
    "Incident",
    "IncidentAlert",
    "IncidentQuerySet",
    "IncidentUpdate",
    "Maintenance",
    "MaintenanceImpact",
    "MaintenanceSettings",
    "Occurrence",
    "OccurrenceImpact",
    "OccurrenceUpdate",
    "Refused",
    "Relation",
    "Reminder",
    "SearchText",
    "SeverityLabels",
    "State",
    "TimelineEntry",
    "UpdateTemplate",
    "UpdateVersion",
    "badge_of",
    "badges",
]
