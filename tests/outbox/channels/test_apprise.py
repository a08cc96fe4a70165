import subprocess
import sys

import pytest

from outbox.channels import DeliveryFailed

from .notices import FACTS, TEXT, URL, alert, hostile, resolved

needs_apprise = pytest.mark.usefixtures("apprise")


@pytest.fixture
def service(receiver):
    return {"url": receiver.url.replace("http://", "json://user:secret@")}


def test_without_the_extra_it_says_what_to_install(service, faults, monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)

    assert faults("apprise", service) == {
        "url": "Install the extra: pip install 'tocsin[apprise]'."
    }


def test_channels_do_not_import_it():
    asked = "import sys, outbox.channels; sys.exit('apprise' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


@needs_apprise
def test_alert_is_told_by_apprise(service, deliver):
    sent, taken = deliver("apprise", service)

    facts = "\n".join(f"{name}: {value}" for name, value in FACTS.items())
    told = {name: sent.body[name] for name in ("title", "message", "type")}
    assert (sent.method, sent.path) == ("POST", "/")
    assert told == {
        "title": "🔴 CRITICAL: Shop is down",
        "message": f"{TEXT}\n\n{facts}\n\n{URL}",
        "type": "failure",
    }
    assert taken.text == "Apprise took it for json"
    assert taken.reference == ""


@needs_apprise
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (resolved(), "success"),
        (alert(severity="WARNING"), "warning"),
        (alert("alert.test"), "info"),
    ],
)
def test_types(content, kind, service, deliver):
    sent, _ = deliver("apprise", service, content)

    assert sent.body["type"] == kind


@needs_apprise
def test_hostile_text(service, deliver):
    sent, _ = deliver("apprise", service, hostile())

    assert "<script>" in sent.body["message"]
    assert "<script>" in sent.body["title"]


@needs_apprise
def test_refusal(service, deliver):
    with pytest.raises(DeliveryFailed, match="could not deliver") as failed:
        deliver("apprise", service, status=500)

    assert not failed.value.final
    with pytest.raises(DeliveryFailed, match="does not understand"):
        deliver("apprise", {"url": "nosuch://host"})


@needs_apprise
def test_what_is_wrong_with_a_config(faults):
    assert list(faults("apprise", {"url": "a word"})) == ["url"]
