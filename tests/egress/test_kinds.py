from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from egress import kinds
from egress.kinds import ConfigInvalid, option


@dataclass(frozen=True, kw_only=True)
class Kettle:
    name: str = option(label="Name")
    litres: float = option(label="Litres", default=1.5)
    cups: int = option(label="Cups", default=4)
    is_on: bool = option(label="On", default=False)
    teas: tuple[str, ...] = option(label="Teas", default=())
    code: str = option(label="Code", default="", secret=True)
    owner: str | None = option(label="Owner", default=None)
    size: str = option(label="Size", default="big", choices=("big", "small"))
    keys: dict[str, str] = option(  # noqa: RUF009
        label="Keys", default_factory=dict, secret=True
    )


def test_config_is_built_and_given_back_whole():
    config = {
        "name": "K",
        "litres": 2,
        "cups": 3.0,
        "is_on": True,
        "teas": ["green"],
        "code": "1234",
        "owner": None,
        "size": "small",
        "keys": {"front": "k1"},
    }

    kettle = kinds.build(Kettle, config)

    assert kettle.litres == 2.0
    assert kettle.teas == ("green",)
    assert kinds.as_config(kettle) == config


@pytest.mark.parametrize(
    ("config", "errors"),
    [
        ({}, {"name"}),
        ({"name": 1}, {"name"}),
        ({"name": "K", "cups": 1.5, "litres": "x"}, {"cups", "litres"}),
        (
            {"name": "K", "is_on": 1, "teas": "green", "lid": 1},
            {"is_on", "teas", "lid"},
        ),
        ({"name": "K", "teas": [1]}, {"teas"}),
        ({"name": "a\x00b"}, {"name"}),
        ({"name": "K", "size": "huge", "keys": {"front": 1}}, {"size", "keys"}),
        ([], {"config"}),
    ],
)
def test_every_unfit_field_is_named(config, errors):
    with pytest.raises(ConfigInvalid) as invalid:
        kinds.build(Kettle, config)

    assert set(invalid.value.errors) == errors


def test_masked_secret_written_back_keeps_it():
    stored = {"name": "K", "code": "1234"}
    shown = kinds.masked(Kettle, stored)

    assert shown == {"name": "K", "code": "***"}
    assert kinds.unmasked(Kettle, {**shown, "name": "L"}, stored) == {
        "name": "L",
        "code": "1234",
    }
    assert kinds.unmasked(Kettle, {"code": "new"}, stored) == {"code": "new"}


def test_secret_dict_hides_its_values_and_keeps_those_written_back():
    stored = {"name": "K", "keys": {"front": "k1", "back": "k2", "none": ""}}
    shown = kinds.masked(Kettle, stored)

    assert shown["keys"] == {"front": "***", "back": "***", "none": ""}
    given = {"name": "K", "keys": {"front": "***", "side": "k3", "lost": "***"}}
    assert kinds.unmasked(Kettle, given, stored)["keys"] == {
        "front": "k1",
        "side": "k3",
        "lost": "",
    }
    assert kinds.unmasked(Kettle, {"name": "K"}, stored) == stored
    assert kinds.unmasked(Kettle, {"name": "K", "keys": {}}, stored)["keys"] == {}


def test_secrets_are_told_to_whoever_must_hide_them():
    kettle = Kettle(name="K", code="1234", keys={"front": "k1", "none": ""})

    assert sorted(kinds.secrets_of(kettle)) == ["1234", "k1"]


def test_choices_may_have_labels():
    sized = option(label="Size", default="b", choices={"b": "Big", "s": "Small"})

    assert sized.metadata["choices"] == {"b": "Big", "s": "Small"}


def test_config_of_an_unknown_kind_is_masked_whole():
    assert kinds.masked(None, {"a": "x", "b": ""}) == {"a": "***", "b": ""}
    assert kinds.masked(None, {"a": {"b": "x"}}) == {"a": {"b": "***"}}


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
names = st.sampled_from(
    ["name", "litres", "cups", "is_on", "teas", "code", "owner", "size", "keys", "x"]
)


@given(st.dictionaries(names, json_values) | json_values)
@example({"name": "K", "cups": float("inf")})
@example({"name": "K", "cups": float("nan"), "litres": 10**400})
def test_whatever_comes_is_built_or_refused_by_name(config):
    try:
        kettle = kinds.build(Kettle, config)
    except ConfigInvalid as error:
        refused = set(error.errors)
        assert refused
        given = set(config) if isinstance(config, dict) else {"config"}
        assert refused <= {*Kettle.__dataclass_fields__, *given}
    else:
        assert kinds.build(Kettle, kinds.as_config(kettle)) == kettle
