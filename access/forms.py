"""Forms whose fields are those of a kind, such as a checker or a channel."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError

from egress.kinds import masked, unmasked

_NO_DEFAULT = dataclasses.MISSING


class UTCInput(forms.DateTimeInput):
    """The browser's own field for a moment; what it says is UTC."""

    def __init__(self) -> None:
        attrs = {"type": "datetime-local", "step": "1"}
        super().__init__(attrs=attrs, format="%Y-%m-%dT%H:%M:%S")


class Lines(forms.CharField):
    """Several texts, one a line or parted by commas."""

    widget = forms.Textarea

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        return [
            part for p in text.replace(",", "\n").splitlines() if (part := p.strip())
        ]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return list(initial or []) != self.to_python(data)


class Pairs(forms.CharField):
    """Names and values, one `Name: value` a line."""

    widget = forms.Textarea

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return "\n".join(f"{name}: {text}" for name, text in value.items())
        return value

    def to_python(self, value: Any) -> Any:
        lines = (super().to_python(value) or "").splitlines()
        pairs = [line.partition(":") for line in lines if line.strip()]
        if any(not colon for _, colon, _ in pairs):
            raise ValidationError("Write each line as Name: value.")
        return {name.strip(): text.strip() for name, _, text in pairs}

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.prepare_value(initial or {}) != (data or "")


_PLAIN: Mapping[Any, type[forms.Field]] = {
    int: forms.IntegerField,
    float: forms.FloatField,
    bool: forms.BooleanField,
}


def field_of(option: "dataclasses.Field[Any]", hint: Any) -> forms.Field:
    """Return the form field for one field of a kind.

    None is required here: only the fields of the chosen kind are asked for, and
    building the kind says which of them is missing.
    """
    about = option.metadata
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
    origin = typing.get_origin(hint)
    words: dict[str, Any] = {
        "label": about.get("label") or option.name.replace("_", " ").capitalize(),
        "help_text": about.get("help", ""),
        "required": False,
    }
    if origin in (tuple, dict):
        field: forms.Field = (Lines if origin is tuple else Pairs)(**words)
        field.widget.attrs["rows"] = 3
    else:
        field = _PLAIN.get(hint, forms.CharField)(**words)
    if hint is str:
        field.widget.attrs |= {"class": "vTextField", "spellcheck": "false"}
    if about.get("secret"):
        field.widget.attrs |= {"autocomplete": "off"}
        stored = "Kept encrypted; *** stands for what is stored."
        field.help_text = ". ".join(filter(None, [str(field.help_text), stored]))
    if not _has_default(option):
        field.widget.attrs["aria-required"] = "true"
    return field


def name_of(kind: str, option: str) -> str:
    """The name in the form of one field of a kind."""
    return f"{kind}__{option}"


class KindForm(forms.ModelForm):
    """Edits `kind` and `config` of a model by fields, validated by its clean()."""

    kinds: ClassVar[Mapping[str, type]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stored_kind = self.instance.kind if self.instance.pk else ""
        self._stored = dict(self.instance.config or {}) if self.instance.pk else {}
        for kind, cls in self.kinds.items():
            known = masked(cls, self._stored) if kind == self._stored_kind else {}
            for option in dataclasses.fields(cls):
                value = known.get(option.name, _default(option))
                self.initial.setdefault(name_of(kind, option.name), value)

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        kind = self.cleaned_data.get("kind", "")
        if cls := self.kinds.get(kind):
            stored = self._stored if kind == self._stored_kind else {}
            self.instance.config = unmasked(cls, self._given(kind, cls), stored)
        return cleaned

    def _given(self, kind: str, cls: type) -> dict[str, Any]:
        """The config as filled in; what was left empty falls to its default."""
        given = {}
        for option in dataclasses.fields(cls):
            value = self.cleaned_data.get(name_of(kind, option.name))
            has_words = value in ("", [], {}) and _has_default(option)
            if has_words or value not in (None, "", [], {}):
                given[option.name] = value
        return given

    def add_error(self, field: str | None, error: Any) -> None:
        """Put what the model says of its config to the field it speaks of."""
        found = getattr(error, "error_dict", {}).pop("config", [])
        kind = self.cleaned_data.get("kind") or self.data.get("kind", "")
        for text in ValidationError(found).messages:
            name, _, reason = text.partition(": ")
            at = name_of(kind, name)
            if at not in self.fields:
                super().add_error(None, text)
            elif at not in self.errors:
                super().add_error(at, reason)
        if not found or error.error_dict:
            super().add_error(field, error)


def kind_form(kinds: Mapping[str, type], base: type[KindForm]) -> type[KindForm]:
    """Return the form with the fields of all these kinds."""
    fields = {
        name_of(kind, option.name): field_of(option, hints[option.name])
        for kind, cls in kinds.items()
        for hints in [typing.get_type_hints(cls)]
        for option in dataclasses.fields(cls)
    }
    metaclass: Any = type(base)
    made: type[KindForm] = metaclass(base.__name__, (base,), {**fields, "kinds": kinds})
    return made


def kind_fieldsets(kinds: Mapping[str, type]) -> list[tuple[str, Any]]:
    """One fieldset a kind; the script shows that of the chosen kind alone."""
    return [
        (
            kind.capitalize() if len(kind) > 4 else kind.upper(),
            {
                "fields": [name_of(kind, o.name) for o in dataclasses.fields(cls)],
                "classes": ["kind", f"kind-{kind}"],
            },
        )
        for kind, cls in kinds.items()
    ]


def _has_default(option: "dataclasses.Field[Any]") -> bool:
    return (
        option.default is not _NO_DEFAULT or option.default_factory is not _NO_DEFAULT
    )


def _default(option: "dataclasses.Field[Any]") -> Any:
    if option.default is not _NO_DEFAULT:
        value = option.default
    elif option.default_factory is not _NO_DEFAULT:
        value = option.default_factory()
    else:
        return None
    return list(value) if isinstance(value, tuple) else value
