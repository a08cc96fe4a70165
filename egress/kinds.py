"""Kinds of thing that reach out, such as a checker or a channel.

A kind is a frozen dataclass: its fields are its config, and building it is the
only validation there is, so that model, admin and API say the same.
"""

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

MASK = "***"

K = TypeVar("K")


class ConfigInvalid(ValueError):
    """The config does not fit its kind; `errors` maps field to what to do."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{k}: {v}" for k, v in self.errors.items()))


def option(
    *,
    label: str,
    help: str = "",
    secret: bool = False,
    choices: Iterable[str] | Mapping[str, str] = (),
    template: str = "",
    **kwargs: Any,
) -> typing.Any:
    """A dataclass field with what a form needs to show it.

    Of a secret dict the values are secret. `choices` are the values there are,
    with their labels if it is a mapping; `template` is what the text is a
    template for: json, text, html or line.
    """
    named = choices if isinstance(choices, Mapping) else {c: c for c in choices}
    metadata = {
        "label": label,
        "help": help,
        "secret": secret,
        "choices": dict(named),
        "template": template,
    }
    return dataclasses.field(metadata=metadata, **kwargs)


def secret_names(kind: type) -> frozenset[str]:
    return frozenset(
        f.name for f in dataclasses.fields(kind) if f.metadata.get("secret")
    )


def secrets_of(thing: Any) -> list[str]:
    """Return the secrets that a built kind holds."""
    held = [v for n in secret_names(type(thing)) if (v := getattr(thing, n))]
    return [
        str(secret)
        for value in held
        for secret in (value.values() if isinstance(value, Mapping) else [value])
        if secret
    ]


def build(kind: type[K], config: Mapping[str, Any]) -> K:
    """Return the kind made from a config as JSON gives it.

    Raises ConfigInvalid naming every unknown, missing or unfit field.
    """
    if not isinstance(config, Mapping):
        raise ConfigInvalid({"config": "Give an object of names and values."})
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    errors = {
        str(name): f"There is no such field; there are {', '.join(fields)}."
        for name in config
        if name not in fields
    }
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in config:
            try:
                values[name] = _chosen(_fit(config[name], hints[name]), field)
            except ValueError as error:
                errors[name] = str(error)
        elif (
            field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ):
            errors[name] = "This field is required."
    if errors:
        raise ConfigInvalid(errors)
    return kind(**values)


def as_config(thing: Any) -> dict[str, Any]:
    """Return the JSON form of a built kind, all defaults spelled out."""
    return {
        f.name: list(v) if isinstance(v := getattr(thing, f.name), tuple) else v
        for f in dataclasses.fields(thing)
    }


def masked(kind: type | None, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config with every secret that is set shown as ***.

    With an unknown kind nothing is known to be harmless, so all is masked.
    """
    hidden = secret_names(kind) if kind else frozenset(config)
    return {k: _masked(v) if k in hidden else v for k, v in config.items()}


def unmasked(
    kind: type, config: Mapping[str, Any], stored: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the config with every *** put back to the secret it stands for.

    A secret that is left out is kept as well; only a given one replaces it.
    """
    hidden = secret_names(kind)
    kept = {k: stored[k] for k in hidden if k in stored and k not in config}
    return kept | {
        k: _unmasked(v, stored.get(k)) if k in hidden else v for k, v in config.items()
    }


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _masked(inner) for name, inner in value.items()}
    return MASK if value else value


def _unmasked(value: Any, stored: Any) -> Any:
    """Put a secret back; one that is not stored becomes empty."""
    if isinstance(value, Mapping):
        known = stored if isinstance(stored, Mapping) else {}
        return {name: _unmasked(v, known.get(name)) for name, v in value.items()}
    if value != MASK:
        return value
    return "" if stored is None else stored


def _chosen(value: Any, field: "dataclasses.Field[Any]") -> Any:
    """Return the value if it is one of the choices, where there are any."""
    choices = field.metadata.get("choices")
    if choices and value not in choices:
        raise ValueError(f"Choose one of {', '.join(choices)}.")
    return value


def _fit(value: Any, hint: Any) -> Any:
    """Return the value as the type wants it, or raise ValueError saying what."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _fit(value, next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError("Give a list.")
        return tuple(_fit(item, arguments[0]) for item in value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError("Give an object of names and values.")
        return {_fit(k, arguments[0]): _fit(v, arguments[1]) for k, v in value.items()}
    if hint is bool:
        if not isinstance(value, bool):
            raise ValueError("Give true or false.")
        return value
    if hint in (int, float):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("Give a number.")
        if not abs(value) < 1e15:  # not a number is not less, either
            raise ValueError("Give a number of a usual size.")
        if hint is int and value != int(value):
            raise ValueError("Give a whole number.")
        return hint(value)
    if not isinstance(value, str):
        raise ValueError("Give a text.")
    if "\x00" in value:
        raise ValueError("The text has a NUL character in it; remove it.")
    return value
