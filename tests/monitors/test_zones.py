"""The time zones there are to choose from, and those that are gone."""

import pytest

from monitors import zones


def test_places_are_offered_in_their_order():
    names = zones.names()

    assert {"UTC", "Europe/Berlin", "Asia/Tokyo"} <= {*names}
    assert list(names) == sorted(names)
    assert zones.choices()[0] == (names[0], names[0])


@pytest.mark.parametrize("name", ["localtime", "Factory", "posixrules", "Mars/Base"])
def test_what_is_no_place_is_not_offered(name):
    assert name not in zones.names()


@pytest.mark.parametrize(
    "name", ["Mars/Base", "", "Europe", "../etc/passwd", "a\x00b", "x" * 300]
)
def test_unknown_one_is_utc_and_said_once(name, caplog):
    assert [zones.find(name).key for _ in range(3)] == ["UTC"] * 3
    assert caplog.text.count("There is no time zone") == 1


def test_known_one_is_itself():
    assert zones.find("Asia/Tokyo").key == "Asia/Tokyo"
