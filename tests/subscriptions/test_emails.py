import re
from datetime import timedelta

import pytest
from django.template.loader import render_to_string
from django.utils import timezone

from incidents.models import Incident, State
from outbox.models import Message
from outbox.rendering import Withdrawn
from statuspages.models import ShownMonitor, StatusPage
from subscriptions import emails
from subscriptions.models import Subscriber

NASTY = "<script>alert(1)</script> \"quoted\" & 'so'\r\nBcc: x@example.org"


@pytest.fixture
def page(db):
    page = StatusPage.default()
    page.title, page.timezone = "Example status", "Asia/Tokyo"
    page.save()
    return page


@pytest.fixture
def make_incident(db, make_monitor):
    def make(title="Orders fail", body="We **look**.", **more):
        began = timezone.now() - timedelta(minutes=90)
        return Incident.open(
            title=title,
            summary=body,
            started_at=began,
            at=began,
            source="DASHBOARD",
            impacts={make_monitor("shop", name="Web Shop"): "DOWN"},
            **more,
        )

    return make


def mail(subscriber, update, event="updated"):
    return emails.incident(
        Message(
            values={"update": update.pk, "subscriber": subscriber.pk, "event": event}
        )
    )


def confirmation(subscriber):
    return emails.confirmation(Message(values={"subscriber": subscriber.pk}))


def test_confirmation_leads_to_the_button(page, asked):
    content = confirmation(asked)

    assert content.subject == "Confirm your subscription to Example status"
    assert asked.confirm_url in content.text
    assert asked.confirm_url in content.html
    assert content.headers["Auto-Submitted"] == "auto-generated"


def test_confirmation_is_withdrawn_when_it_is_not_needed(page, asked):
    asked.confirm(at=timezone.now())
    with pytest.raises(Withdrawn, match="confirmed already"):
        confirmation(asked)

    asked.unsubscribe(at=timezone.now())
    with pytest.raises(Withdrawn, match="unsubscribed"):
        confirmation(asked)


def test_confirmation_is_withdrawn_when_the_address_is_forgotten(page, asked):
    message = Message(values={"subscriber": asked.pk})
    Subscriber.objects.all().delete()

    with pytest.raises(Withdrawn, match="gone"):
        emails.confirmation(message)


def test_first_mail_says_what_is_wrong(page, reader, make_incident):
    incident = make_incident()

    content = mail(reader, incident.updates.get(), "published")

    assert content.subject == "Investigating: Orders fail"
    assert "We look." in content.text
    assert "- Web Shop: down" in content.text
    assert incident.url in content.text
    assert reader.unsubscribe_url in content.text
    assert "<strong>look</strong>" in content.html
    assert "New incident" in content.html


def test_first_mail_counts_from_the_beginning_to_when_people_were_told(
    page, reader, make_incident
):
    incident = make_incident()
    Incident.objects.update(published_at=incident.started_at + timedelta(minutes=3))

    content = mail(reader, incident.updates.get(), "published")

    assert "Ongoing for 3 minutes, since " in content.text
    assert "Investigating, ongoing for 3 minutes." in content.html


def test_mail_of_what_has_just_begun_counts_no_seconds(page, reader, make_incident):
    incident = make_incident()

    content = mail(reader, incident.updates.get(), "published")

    assert "seconds" not in content.text + content.html
    assert "Ongoing" not in content.text
    assert "Since " in content.text


def test_draft_published_after_its_end_tells_how_long_it_was(
    page, reader, make_incident
):
    incident = make_incident()
    at = incident.started_at + timedelta(minutes=20)
    update = incident.update(state=State.RESOLVED, body="Over.", at=at)
    Incident.objects.update(published_at=at + timedelta(hours=1))

    content = mail(reader, update, "resolved")

    assert content.subject == "Resolved after 20 minutes: Orders fail"


def test_mail_tells_the_story_before_it(page, reader, make_incident):
    incident = make_incident()
    update = incident.update(
        state=State.IDENTIFIED, body="A full disk.", at=timezone.now()
    )

    content = mail(reader, update)

    assert content.subject == "Identified: Orders fail"
    assert content.text.index("A full disk.") < content.text.index("We look.")


def test_late_mail_does_not_tell_what_came_after(page, reader, make_incident):
    incident = make_incident()
    first = incident.updates.get()
    incident.update(state=State.RESOLVED, body="It is over.", at=timezone.now())

    content = mail(reader, first, "published")

    assert "It is over." not in content.text + content.html
    assert content.subject == "Investigating: Orders fail"
    assert "- Web Shop: down" in content.text


def test_resolved_mail_tells_the_total_duration(page, reader, make_incident):
    incident = make_incident()
    update = incident.update(state=State.RESOLVED, body="Over.", at=timezone.now())

    content = mail(reader, update, "resolved")

    assert content.subject == "Resolved after 1 hour 30 minutes: Orders fail"
    assert "Total duration: 1 hour 30 minutes, " in content.text
    assert "1 hour 30 minutes, " in content.html
    assert "All about it" in content.html


def test_reopened_mail_says_so(page, reader, make_incident):
    incident = make_incident()
    incident.update(state=State.RESOLVED, body="Over.", at=timezone.now())
    update = incident.update(state=State.INVESTIGATING, body="No.", at=timezone.now())

    assert mail(reader, update, "reopened").subject == "Reopened: Orders fail"


def test_mail_is_in_the_zone_of_the_page(page, reader, make_incident, time_machine):
    time_machine.move_to("2026-11-21T14:32:00Z", tick=False)
    incident = make_incident()

    content = mail(reader, incident.updates.get())

    assert "Investigating, Saturday 21 November, 22:02 JST" in content.text


def test_mail_carries_the_headers_of_a_list(page, reader, make_incident):
    incident = make_incident()

    headers = mail(reader, incident.updates.get()).headers

    assert headers == {
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "OOF, AutoReply",
        "Precedence": "list",
        "List-Id": "<incidents.testserver>",
        "List-Unsubscribe": f"<{reader.unsubscribe_url}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "In-Reply-To": f"<incident-{incident.pk}@testserver>",
        "References": f"<incident-{incident.pk}@testserver>",
    }


def test_mails_of_one_incident_are_one_thread(page, reader, make_incident):
    incident = make_incident()
    first = incident.updates.get()
    later = incident.update(state=State.MONITORING, body="Well?", at=timezone.now())

    assert (
        mail(reader, first).headers["References"]
        == mail(reader, later).headers["References"]
    )


def test_mail_of_a_deleted_incident_is_withdrawn(page, reader, make_incident):
    incident = make_incident()
    update = incident.updates.get()
    incident.delete_by_hand(at=timezone.now())

    with pytest.raises(Withdrawn, match="deleted"):
        mail(reader, update)


def test_mail_to_whoever_left_is_withdrawn(page, reader, make_incident):
    update = make_incident().updates.get()
    reader.unsubscribe(at=timezone.now())

    with pytest.raises(Withdrawn, match="unsubscribed"):
        mail(reader, update)


def test_mail_shows_what_strangers_wrote_as_text(page, reader, make_incident):
    page.title = "A & B"
    page.save()
    incident = make_incident(title=NASTY, body=NASTY)

    content = mail(reader, incident.updates.get())

    assert "\n" not in content.subject
    assert "\r" not in content.subject
    assert "<script>alert(1)</script> \"quoted\" & 'so'" in content.subject
    assert "A & B" in content.text
    assert "<script" not in content.html
    assert "A &amp; B" in content.html


def test_title_of_several_lines_is_one_in_the_text(page, reader, make_incident):
    incident = make_incident(title="Slow\n\nUnsubscribe: http://evil.example/")

    text = mail(reader, incident.updates.get()).text

    assert "Slow Unsubscribe: http://evil.example/\n" in text
    assert text.count("\nUnsubscribe:") == 1


def test_mail_with_a_hostile_title_is_delivered(clockwork, mailbox, page, reader):
    now = timezone.now()
    Incident.open(
        title=NASTY, summary="We look.", started_at=now, at=now, source="DASHBOARD"
    )

    clockwork.settle()

    [delivered] = mailbox.mails
    assert delivered.to == [reader.email]
    assert delivered.message["Bcc"] is None
    assert delivered.subject.startswith("Investigating: <script>")


def test_styles_cannot_be_broken_out_of():
    html = emails.styled(
        '<p>x</p><a href="http://x/" title="&lt;p onclick=y&gt;">y</a>'
    )

    [attributes] = re.findall("<p ([^>]*)>x</p>", html)
    assert sorted(re.findall('[a-z]+="[^"]*"', attributes)) == [
        'dir="auto"',
        'style="margin:0 0 12px"',
    ]
    assert 'title="&lt;p onclick=y&gt;"' in html


@pytest.mark.parametrize("look", ["up", "degraded", "down", "plain"])
def test_every_look_has_colours_of_the_dark(look):
    html = render_to_string("mail/base.html")

    dark = html.partition("(prefers-color-scheme: dark)")[2]
    for name in (look, f"tint-{look}", f"edge-{look}"):
        assert f"  .{name} {{" in dark or f"}} .{name} {{" in dark


def test_heading_of_an_update_is_below_that_of_the_mail(page, reader, make_incident):
    html = mail(reader, make_incident(body="# Why").updates.get()).html

    assert html.count("<h1") == 1
    assert "Why</h2>" in html


def test_table_in_an_update_is_lines_in_the_text(page, reader, make_incident):
    body = "Alert triggered\n\n| Setting | Value |\n| :-- | :-- |\n| **Tag** | shop |"
    incident = make_incident(body=body)

    text = mail(reader, incident.updates.get()).text

    assert (
        "Alert triggered\n\nSetting \N{EN DASH} Value\nTag \N{EN DASH} shop\n" in text
    )


def test_mail_uses_the_names_of_the_page(page, reader, make_incident):
    incident = make_incident()
    monitor = incident.impacts.get().monitor
    ShownMonitor.objects.create(page=page, monitor=monitor, label="The shop")

    assert "- The shop: down" in mail(reader, incident.updates.get()).text


@pytest.mark.parametrize("number", [1, 30])
def test_mail_needs_seven_queries_for_any_number(
    number, page, reader, make_incident, make_monitor, django_assert_num_queries
):
    incident = make_incident()
    impacts = {make_monitor(f"m{n}"): "DOWN" for n in range(number)}
    incident.revise(impacts=impacts, at=timezone.now())
    for _ in range(number):
        update = incident.update(
            state=State.MONITORING, body="Well?", at=timezone.now()
        )

    with django_assert_num_queries(7):
        mail(reader, update)
