"""The whole signal graph: what the README prints, and nothing beside it."""

import re
from pathlib import Path

import pytest

import alerting.signals
import incidents.signals
import monitors.signals

ROOT = Path(__file__).parent.parent

WIRING = [
    "alerting: results_recorded -> evaluate",
    "alerting: monitor_paused -> resolve_paused",
    "alerting: monitor_retired -> resolve_retired",
    "alerting: monitor_labelled -> leave_unlabelled",
    "incidents: alert_triggered -> open_incident",
    "incidents: alert_resolved -> close_incident",
    "incidents: alerts_still_failing -> reopen_incidents",
    "statuspages: status_changed -> mark_pages",
    "statuspages: monitor_paused -> mark_pages",
    "statuspages: monitor_resumed -> mark_pages",
    "statuspages: monitor_retired -> mark_pages",
    "statuspages: incident_published -> mark_pages",
    "statuspages: incident_updated -> mark_pages",
    "statuspages: incident_resolved -> mark_pages",
    "statuspages: incident_reopened -> mark_pages",
    "statuspages: incident_deleted -> mark_pages",
    "statuspages: incident_split -> keep_to_its_pages",
    "statuspages: maintenance_scheduled -> mark_pages",
    "statuspages: maintenance_started -> mark_pages",
    "statuspages: maintenance_changed -> mark_pages",
    "statuspages: maintenance_completed -> mark_pages",
    "statuspages: maintenance_cancelled -> mark_pages",
    "statuspages: severities_renamed -> mark_pages",
    "subscriptions: incident_published -> notify_published",
    "subscriptions: incident_updated -> notify_updated",
    "subscriptions: incident_resolved -> notify_resolved",
    "subscriptions: incident_reopened -> notify_reopened",
    "subscriptions: maintenance_scheduled -> notify_scheduled",
    "subscriptions: maintenance_reminded -> notify_reminded",
    "subscriptions: maintenance_started -> notify_started",
    "subscriptions: maintenance_changed -> notify_changed",
    "subscriptions: maintenance_completed -> notify_completed",
    "subscriptions: maintenance_cancelled -> notify_cancelled",
]
SIGNALS = {
    name: signal
    for module in (monitors.signals, alerting.signals, incidents.signals)
    for name, signal in vars(module).items()
    if hasattr(signal, "receivers")
}


def sources():
    skipped = {"tests", ".venv", "migrations", "bench", "var"}
    for path in ROOT.rglob("*.py"):
        if not skipped & set(path.relative_to(ROOT).parts):
            yield path, path.read_text()


def test_wiring_is_what_it_says():
    found = []
    for app in ("alerting", "incidents", "statuspages", "subscriptions"):
        text = (ROOT / app / "apps.py").read_text()
        for signal, receiver in re.findall(r"(\w+)\.connect\(receivers\.(\w+)\)", text):
            found.append(f"{app}: {signal} -> {receiver}")

    assert found == WIRING


def test_readme_shows_the_wiring_as_grep_prints_it():
    printed = [
        f"    {path.parent.name}/apps.py:{number}: {line.strip()}"
        for path in sorted(ROOT.glob("*/apps.py"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if ".connect(" in line
    ]

    shown = (ROOT / "README.md").read_text().splitlines()

    assert [line for line in shown if ".connect(r" in line] == printed


@pytest.mark.parametrize("name", SIGNALS)
def test_signal_has_the_receivers_of_the_wiring(name):
    expected = [line.split(" -> ")[1] for line in WIRING if f": {name} ->" in line]

    connected = [entry[1]().__name__ for entry in SIGNALS[name].receivers]

    assert sorted(connected) == sorted(expected)


@pytest.mark.parametrize("name", SIGNALS)
def test_signal_is_sent_by_one_app_only(name):
    word = re.compile(rf"\b{name}\b")

    senders = {
        path.relative_to(ROOT).parts[0]
        for path, text in sources()
        if path.name not in ("signals.py", "apps.py") and word.search(text)
    }

    assert len(senders) == 1


def test_no_model_signal_is_used_for_what_happens():
    used = [
        str(path)
        for path, text in sources()
        if re.search(r"\b(post|pre)_(save|delete)\b|\bm2m_changed\b", text)
    ]

    assert used == []
