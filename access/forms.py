"""Forms whose fields are those of a kind, such as a checker or a channel."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString

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


class Template(forms.CharField):
    """A text with variables in it."""

    widget = forms.Textarea

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widget.attrs |= {
            "class": "vLargeTextField",
            "rows": 10,
            "style": "font-family: ui-monospace, monospace",
        }

    def to_python(self, value: Any) -> str:
        # Browsers end lines as mails do.
        return str(super().to_python(value)).replace("\r\n", "\n")


# What a template may name, and what each name means: told by an upper app.
_variables: dict[str, str] = {}


def name_variables(named: Mapping[str, str]) -> None:
    """Make known what the templates of kinds may name; called in ready()."""
    _variables.update(named)


def variables_help() -> SafeString:
    """All that a template may name, folded away."""
    rows = format_html_join(
        "", "<li><code>{{{{{}}}}}</code> {}</li>", _variables.items()
    )
    return format_html(
        "<details><summary>Variables</summary><ul>{}</ul></details>", rows
    )


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
    words: dict[str, Any] = {
        "label": about.get("label") or option.name.replace("_", " ").capitalize(),
        # The admin shows it as HTML, and it is none.
        "help_text": conditional_escape(about.get("help", "")),
        "required": False,
    }
    field = _plain_field(about, hint, words)
    if hint is str:
        field.widget.attrs |= {"spellcheck": "false"}
        field.widget.attrs.setdefault("class", "vTextField")
    if about.get("template"):
        field.help_text = format_html("{}{}", field.help_text, variables_help())
    if about.get("secret"):
        field.widget.attrs |= {"autocomplete": "off"}
        stored = "Kept encrypted; *** stands for what is stored."
        field.help_text = ". ".join(filter(None, [str(field.help_text), stored]))
    if not _has_default(option):
        field.widget.attrs["aria-required"] = "true"
    return field


def _plain_field(
    about: Mapping[str, Any], hint: Any, words: dict[str, Any]
) -> forms.Field:
    origin = typing.get_origin(hint)
    if choices := about.get("choices"):
        return forms.ChoiceField(choices=list(choices.items()), **words)
    if about.get("template", "") not in ("", "line"):
        return Template(**words)
    if origin not in (tuple, dict):
        return _PLAIN.get(hint, forms.CharField)(**words)
    field: forms.Field = (Lines if origin is tuple else Pairs)(**words)
    field.widget.attrs["rows"] = 3
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
            may_be_empty = _has_default(option) and not option.metadata.get("choices")
            has_words = value in ("", [], {}) and may_be_empty
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
