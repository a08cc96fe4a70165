from datetime import UTC, datetime

import pytest

from egress.kinds import ConfigInvalid, build
from outbox.channels import Content, Envelope
from outbox.channels.email import EmailChannel

AT = datetime.now(UTC)
CONTENT = Content(
    subject="CRITICAL: Web Shop",
    text="It is down.\n",
    html="<p>It is down.</p>",
    values={"monitor": {"name": "Shop"}},
    variables={"alert_name": "Web Shop\nBcc: x", "alert_message": "<b>\"no\" & 'so'"},
)


@pytest.fixture
def send(mailbox):
    """Send content by mail with this config; return the mail that arrived."""

    def send(content=CONTENT, **config):
        envelope = Envelope(key="k", destination="", created_at=AT, attempted_at=AT)
        channel = build(EmailChannel, {"to": ["ops@example.org"], **config})
        channel.deliver(content, envelope)
        return mailbox.mails[-1]

    return send


def test_mail_says_our_words_unless_told_otherwise(send):
    mail = send(to=["ops@example.org", "ana@example.org"])

    assert mail.to == ["ops@example.org", "ana@example.org"]
    assert (mail.subject, mail.text.strip()) == ("CRITICAL: Web Shop", "It is down.")
    assert mail.html.strip() == "<p>It is down.</p>"
    assert "Tocsin" in mail.message["From"]


def test_mail_says_the_operators_words(send):
    mail = send(
        from_address="Ops <ops@example.org>",
        subject="[{{monitor.name}}] {{alert_name}}",
        body_text="{{alert_message}}",
        body_html="<i title='{{alert_message}}'>{{alert_message}}</i>",
    )

    assert mail.message["From"] == "Ops <ops@example.org>"
    assert mail.subject == "[Shop] Web Shop Bcc: x"
    assert mail.message["Bcc"] is None
    assert mail.text.strip() == "<b>\"no\" & 'so'"
    said = "&lt;b&gt;&quot;no&quot; &amp; &#x27;so&#x27;"
    assert mail.html.strip() == f"<i title='{said}'>{said}</i>"


def test_our_html_does_not_hide_the_operators_text(send):
    mail = send(body_text="Mine: {{alert_name}}")

    assert mail.text.startswith("Mine: ")
    assert mail.message.get_body(("html",)) is None


def test_our_text_stands_beside_the_operators_html(send):
    mail = send(body_html="<p>Mine</p>")

    assert (mail.text.strip(), mail.html.strip()) == ("It is down.", "<p>Mine</p>")


@pytest.mark.parametrize(
    ("config", "errors"),
    [
        ({"to": ["nobody"]}, {"to": "'nobody' is no address."}),
        ({"from_address": "Ops"}, {"from_address": "write Name <address>"}),
        ({"from_address": "O <a@b.de>\nX: y"}, {"from_address": "sender"}),
        (
            {"from_address": "Ops, Inc <ops@example.org>"},
            {"from_address": "put the name in quotes"},
        ),
        ({"subject": "{{#a}}"}, {"subject": "Line 1: The section a is not closed"}),
        ({"body_text": "\n{{a"}, {"body_text": "Line 2: {{ begins a tag"}),
        ({"body_html": "{{{alert_name}}}"}, {"body_html": "write {{alert_name}}"}),
        ({"body_html": "<a href={{site_url}}>"}, {"body_html": "Put quotes around"}),
    ],
)
def test_unfit_config_is_refused_at_its_field(config, errors):
    with pytest.raises(ConfigInvalid) as refused:
        build(EmailChannel, config)

    assert refused.value.errors.keys() == errors.keys()
    for name, said in errors.items():
        assert said in refused.value.errors[name]


def test_sender_may_have_a_quoted_name():
    build(EmailChannel, {"from_address": '"Ops, Inc" <ops@example.org>'})
