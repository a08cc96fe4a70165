"""Secrets that Tocsin makes for itself at its first start."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet


def read_or_make(path: Path, make: Callable[[], str]) -> str:
    """Return the secret kept in the file, made (mode 600) if there is none.

    Several processes may start at once: each writes its own file and links it
    into place, and the first link wins for all of them.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mine = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make() + "\n")
        try:
            os.link(mine, path)
        except FileExistsError:
            pass
        finally:
            mine.unlink()
    return path.read_text().strip()


def make_secret_key() -> str:
    return secrets.token_urlsafe(64)


def make_encryption_key() -> str:
    return Fernet.generate_key().decode()
