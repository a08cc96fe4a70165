"""The incident: its facts, and what happens to it, a layer on the other.

Facts are written down (`log`), concern monitors (`impacts`), are told (`telling`),
published or not (`drafts`), by alerts (`alerts`) or by people (`model`).
"""

from .model import Incident
from .queries import GOES_ON, IncidentQuerySet

__all__ = ["GOES_ON", "Incident", "IncidentQuerySet"]
