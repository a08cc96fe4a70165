import pytest

from outbox.channels import DeliveryFailed

from .notices import FACTS, URL, alert, hostile, resolved


@pytest.fixture
def flow(receiver):
    return {"url": f"{receiver.url}workflows/1?sig=secret"}


def block(*runs, **look):
    return {"type": "RichTextBlock", "inlines": list(runs), **look}


def run(text, **look):
    return {"type": "TextRun", "text": text, **look}


def test_alert_is_a_card(flow, deliver):
    sent, taken = deliver("teams", flow, status=202, answer=b"")

    (attachment,) = sent.body["attachments"]
    assert (sent.method, sent.path) == ("POST", "/workflows/1?sig=secret")
    assert sent.body["type"] == "message"
    assert attachment == {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "msteams": {"width": "Full"},
            "body": [
                block(
                    run(
                        "CRITICAL: Shop is down",
                        weight="Bolder",
                        size="Large",
                        color="Attention",
                    )
                ),
                block(run("Sells *nothing*.")),
                block(run("3 failures in a row")),
                block(run("Last error: Connection refused")),
                *(
                    block(
                        run(f"{name}: ", weight="Bolder"), run(value), spacing="Small"
                    )
                    for name, value in FACTS.items()
                ),
            ],
            "actions": [{"type": "Action.OpenUrl", "title": "Open alert", "url": URL}],
        },
    }
    assert taken.reference == ""


def test_resolved_alert_is_a_card_of_its_own(flow, deliver):
    sent, _ = deliver("teams", flow, resolved(), status=202, thread="whatever")

    card = sent.body["attachments"][0]["content"]
    (title,) = card["body"][0]["inlines"]
    assert (title["text"], title["color"]) == ("Resolved: Shop is down", "Good")


def test_hostile_text_is_never_markdown_and_fits(flow, deliver):
    sent, _ = deliver("teams", flow, hostile())

    card = sent.body["attachments"][0]["content"]
    assert len(sent.raw) <= 28 * 1024
    assert {element["type"] for element in card["body"]} == {"RichTextBlock"}
    assert len(card["body"]) < 60
    said = [run["text"] for element in card["body"] for run in element["inlines"]]
    assert "[link](javascript:alert(1))" in "".join(said)
    assert not any("\n" in text for text in said)
    assert "…" in said


def test_text_of_one_long_line_fits(flow, deliver):
    content = alert(description="\N{GRINNING FACE}" * 10_000)

    sent, _ = deliver("teams", flow, content)

    assert 10_000 < len(sent.raw) <= 28 * 1024


def test_refusal(flow, deliver):
    with pytest.raises(
        DeliveryFailed, match=r"404 .*WorkflowTriggerNotFound"
    ) as failed:
        deliver("teams", flow, status=404, answer={"code": "WorkflowTriggerNotFound"})

    assert not failed.value.final


def test_what_is_wrong_with_a_config(faults):
    assert list(faults("teams", {"url": "logic.azure.com"})) == ["url"]
    assert list(faults("teams", {})) == ["url"]
