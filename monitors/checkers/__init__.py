from .base import Checker, HTTPLike, Outcome
from .http import HTTPChecker
from .tocsin import TocsinChecker

__all__ = ["CHECKERS", "Checker", "HTTPLike", "Outcome"]

CHECKERS: dict[str, type[Checker]] = {
    "http": HTTPChecker,
    "tocsin": TocsinChecker,
}
