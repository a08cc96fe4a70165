from .bucket import EngineMinute, LatencyBucket, Rebuild
from .correction import Correction
from .monitor import Counts, Label, Monitor, kind_choices
from .overlay import Overlay
from .period import StatusPeriod, Turn
from .pulse import Pulse
from .result import Certificate, CheckResult, FailureEpisode, Prober
from .severity import IncidentSeverity
from .state import Claim, MonitorState, new_revision
from .status import BADNESS, Status, worst

__all__ = [
    "BADNESS",
    "Certificate",
    "CheckResult",
    "Claim",
    "Correction",
    "Counts",
    "EngineMinute",
    "FailureEpisode",
    "IncidentSeverity",
    "Label",
    "LatencyBucket",
    "Monitor",
    "MonitorState",
    "Overlay",
    "Prober",
    "Pulse",
    "Rebuild",
    "Status",
    "StatusPeriod",
    "Turn",
    "kind_choices",
    "new_revision",
    "worst",
]
