from .alert import Alert, Closing, Opening, Transition
from .decision import Decision, Said
from .failure import EvaluationFailure, back_off
from .flap import FlapDetection
from .rule import MOST_THRESHOLD, AlertRule, RuleState
from .silence import Silence, SilenceQuerySet

__all__ = [
    "MOST_THRESHOLD",
    "Alert",
    "AlertRule",
    "Closing",
    "Decision",
    "EvaluationFailure",
    "FlapDetection",
    "Opening",
    "RuleState",
    "Said",
    "Silence",
    "SilenceQuerySet",
    "Transition",
    "back_off",
]
