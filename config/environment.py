"""Reads the environment; every complaint names its variable, none shows a value."""

import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

FORMS: Final = {
    int: "a whole number",
    float: "a number",
    json.loads: "JSON",
}
DATABASE_SCHEMES: Final = ("postgres", "postgresql", "sqlite")
REDIS_SCHEMES: Final = ("redis", "rediss", "unix")


NO_ADDRESS: Final = (
    "{} cannot be read as an address; in a user or password write / as %2F, "
    ": as %3A, @ as %40, # as %23 and % as %25."
)


class Environment(environ.Env):
    def get_value(self, var: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_value(var, *args, **kwargs)
        except ValueError:
            form = FORMS.get(args[0] if args else kwargs.get("cast"), "something else")
            raise ImproperlyConfigured(f"{var} should be {form}.") from None

    def database(self, var: str) -> dict[str, Any]:
        """Return the settings of the database at an address."""
        scheme = self._scheme(var)
        if scheme not in DATABASE_SCHEMES:
            raise ImproperlyConfigured(
                f"{var} begins with {scheme or 'no'}://, which is not supported; "
                "give postgres://user@host:5432/name or sqlite:////path/to/file."
            )
        config: dict[str, Any] = self.db(var)
        return config

    def mail(self, var: str) -> dict[str, Any]:
        """Return the settings of the mail server at an address."""
        scheme = self._scheme(var)
        if scheme not in self.EMAIL_SCHEMES:
            raise ImproperlyConfigured(
                f"{var} begins with {scheme or 'no'}://, which is not known; "
                "give smtp+tls://user:password@host:587."
            )
        config: dict[str, Any] = self.email(var)
        return config

    def redis(self, var: str) -> str:
        """Return the address of a Redis server, or nothing."""
        url: str = self(var, default="")
        if url and self._scheme(var) not in REDIS_SCHEMES:
            raise ImproperlyConfigured(
                f"{var} should look like redis://host:6379/0 (or rediss://, unix://)."
            )
        return url

    def site(self, var: str, *, default: str) -> str:
        """Return the address that links begin with; `check` judges the rest of it."""
        url: str = self(var, default=default).rstrip("/")
        if var in self.ENVIRON:
            self._scheme(var)
        return url

    def port(self, var: str, *, default: int) -> int:
        number: int = self.int(var, default=default)
        if not 1 <= number <= 65535:
            raise ImproperlyConfigured(f"{var} should be 1 to 65535.")
        return number

    def folder(self, var: str, *, default: Path) -> Path:
        """Return a folder of our own, made if it is missing."""
        path = Path(self(var, default="") or default).absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ImproperlyConfigured(
                f"{var}: {path} cannot be made: {error.strerror}."
            ) from None
        return path

    def _scheme(self, var: str) -> str:
        try:
            parts = urlsplit(str(self(var)))
            _ = parts.port  # read only now, and a ValueError if it is none
        except ValueError:
            raise ImproperlyConfigured(NO_ADDRESS.format(var)) from None
        return parts.scheme
