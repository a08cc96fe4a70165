from .base import Checker, HTTPLike, Outcome
from .http import HTTPChecker

__all__ = ["CHECKERS", "Checker", "HTTPLike", "Outcome"]

CHECKERS: dict[str, type[Checker]] = {
    "http": HTTPChecker,
}
