import io

import pytest
import time_machine
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader
from rest_framework.test import APIClient

from incidents import directions, printing
from incidents.exporting import as_pdf
from incidents.models import Incident
from monitors.models import Label

from .story import NOW, minutes


def open_incident(monitor, title="Orders fail", summary="We look into it.", **more):
    return Incident.open(
        title=title,
        summary=summary,
        started_at=NOW,
        at=NOW,
        source="DASHBOARD",
        impacts={monitor: "DEGRADED"},
        **more,
    )


@pytest.fixture
def opened(make_monitor):
    return open_incident(make_monitor())


def read(pdf):
    return PdfReader(io.BytesIO(pdf))


def words(pdf):
    text = " ".join(page.extract_text() for page in read(pdf).pages)
    return " ".join(text.split())


def record(text, quoted="", entries=1):
    return printing.Record(
        kicker="Incident 7",
        title=text,
        colour="#a80f24",
        facts={"Labels": text},
        entries=[printing.Entry(NOW, text, text, quoted)] * entries,
        printed_at=NOW,
    )


def printed(text, quoted=""):
    return words(printing.pdf(record(text, quoted)))


def test_a_record_has_the_facts_and_the_whole_timeline(make_monitor, operator):
    labels = [Label.objects.create(name=name) for name in ("shop", "money")]
    monitor = make_monitor()
    incident = open_incident(monitor, owner=operator, labels=labels, severity=3)
    incident.note("Ask Ben", at=minutes(1), author="ana")
    at = minutes(65)
    incident.update(state="RESOLVED", body="All is well.", at=at, author=operator)

    told = words(as_pdf(incident))

    began = f"{NOW:%Y-%m-%d %H:%M:%S} UTC"
    for fact in (
        f"Incident {incident.pk} Orders fail State Resolved Severity Critical",
        f"Source Dashboard Began {began} Ended {at:%Y-%m-%d %H:%M:%S} UTC",
        "Lasted 1 hour 5 minutes Owner ana Labels money, shop Monitors Shop (degraded)",
        "Timeline All times are in UTC.",
        f"{NOW:%A} {NOW.day} {NOW:%B %Y} {NOW:%H:%M:%S} Tocsin: Opened: Orders fail",
        f"{minutes(1):%H:%M:%S} ana: Internal note Ask Ben",
        f"{at:%H:%M:%S} ana: Update All is well.",
    ):
        assert fact in told


def test_pages_are_a4_and_say_which_of_how_many_they_are():
    pages = read(printing.pdf(record("Orders fail", "Still.", entries=80))).pages

    assert len(pages) > 2
    for number, page in enumerate(pages, 1):
        assert [round(float(side)) for side in page.mediabox[2:]] == [595, 842]
        foot = page.extract_text()
        assert f"Page {number} of {len(pages)}" in foot
        assert f"Incident 7, as of {NOW:%Y-%m-%d %H:%M:%S} UTC" in foot


def test_the_same_record_is_the_same_bytes(opened):
    with time_machine.travel(minutes(5), tick=False):
        assert as_pdf(opened) == as_pdf(opened)


@pytest.mark.parametrize(
    "text",
    [
        *("Ελληνικές πληρωμές", "Оплата не проходит", "Không thể thanh toán"),
        *("支付失败", "付款失敗", "サーバーが落ちた", "결제 실패", "ქართული", "Zażółć"),
        *("a → b", "§ 3 ≥ 4 %"),
    ],
)
def test_many_scripts_are_set(text):
    assert text in printed(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("It burns 🔥🔥", "It burns [fire][fire]"),
        ("👩🏽\u200d💻 at it", "[woman][personal computer] at it"),
        ("\u2764\ufe0f", "[heavy black heart]"),
        ("bold \N{MATHEMATICAL BOLD CAPITAL A}", "bold A"),
        ("\U0001201a and \ue000 and \x07", "\ufffd and \ufffd and \ufffd"),
        ("not \u202eturned\u202c about", "not turned about"),
    ],
)
def test_what_no_font_has_is_replaced_by_something_to_be_seen(text, shown):
    assert shown in printed(text)


def test_letters_of_arabic_are_joined():
    # The first letter as it is where another follows it, and by itself.
    joined, alone = "\ufee3", "\u0645"

    told = printed("مرحبا")

    assert joined in told
    assert alone not in told


def hebrew(text):
    """Capitals stand for letters that are read from the right."""
    return text.translate({ord("A") + n: 0x5D0 + n for n in range(26)})


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("SHALOM OLAM GADOL", "LODAG MALO MOLAHS"),
        ("shop SHALOM OLAM, bank", "shop MALO MOLAHS, bank"),
        ("SHALOM api eu-west-1 OLAM", "MALO api eu-west-1 MOLAHS"),
        ("SHALOM (hello world), OLAM", "MALO ,(hello world) MOLAHS"),
        ("SHALOM 14:30 20% OLAM.", ".MALO 20% 14:30 MOLAHS"),
        ("B-api 500 SHALOM", "MOLAHS 500 api-B"),
        ("a (SHALOM OLAM) b", "a (MALO MOLAHS) b"),
        ("a SHALOM 20%, b", "a 20% MOLAHS, b"),
        ("\u00abSHALOM\u00bb - OLAM", "MALO - \u00abMOLAHS\u00bb"),
        ("api-SHALOM 7", "api- 7 MOLAHS"),
    ],
)
def test_words_from_the_right_are_set_from_there(line, seen):
    lines = directions.turned(hebrew(line), 1000, len, is_shaped=False)

    assert list(lines) == [hebrew(seen)]


def test_line_is_broken_before_it_is_turned():
    line = hebrew("SHALOM OLAM one two GADOL")

    lines = directions.turned(line, 15, len, is_shaped=False)

    assert list(lines) == [hebrew("one MALO MOLAHS"), hebrew("LODAG two")]


def test_first_word_of_arabic_is_the_rightmost_on_paper():
    # Two letters that are one glyph, and five that are one each.
    no, payment = "\u0644\u0627", "\u0627\u0644\u062f\u0641\u0639"
    shown = []

    def note(operator, operands, *_):
        if operator == b"Tj":
            shown.extend(operands)

    [page] = read(printing.pdf(record(f"{payment} API {no}"))).pages
    page.extract_text(visitor_operand_before=note)

    title = next(glyphs for glyphs in shown if b"API" in glyphs)
    left, right = title.split(b" API ")
    assert (len(left), len(right)) == (1, 5)


def test_letters_that_cannot_be_joined_stand_by_themselves(caplog):
    # Marks without their letter are more than the library can shape.
    told = printed("\u05b0b\u064e<")

    assert "Incident 7" in told
    assert "could not be printed with joined letters" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        *("", " \n\n ", "x" * 20_000, "数" * 3000, "ع" * 1000, "क्" * 1000),
        *("\u0301" * 500, "ع " * 1000, "\ufdfd" * 200, "\u0e5b" * 200, "<" * 5000),
        *("שלום 支付失败 " * 100, "\ud800", "a\tb\x00c\u2028d"),
    ],
)
def test_no_text_is_too_much(text):
    assert read(printing.pdf(record(text[:255], text))).pages


@settings(max_examples=60)
@given(st.text(max_size=200), st.text("<&>;/\"'b שع🔥数\u0301\u200d\\\n", max_size=200))
def test_no_text_breaks_it(text, hard):
    for title, quoted in ((text, hard), (hard, text)):
        assert read(printing.pdf(record(title, quoted))).pages


def test_hostile_words_are_words_and_fetch_nothing(make_monitor, receiver):
    hostile = (
        f'<img src="{receiver.url}/a"> <b>x</b> <font name="/etc/passwd">y</font> '
        f"<para><script>alert(1)</script>&lt;i&gt; {{{{ 7 }}}}"
    )
    body = (
        f'{hostile}\n\n![pixel]({receiver.url}/b) <img src="file:///etc/passwd">\n\n'
        f"[here]({receiver.url}/c) <link rel=stylesheet href={receiver.url}/d>"
    )
    incident = open_incident(make_monitor(name="<u>Shop</u>"), hostile[:255], body)

    told = words(as_pdf(incident))

    assert hostile[:200] in told
    assert "<u>Shop</u> (degraded)" in told
    assert f"here ({receiver.url}/c)" in told
    assert "root:" not in told
    assert receiver.requests == []


def test_markdown_is_printed_as_it_is_meant(make_monitor):
    body = "**Bold** is\n\n- one\n- [Mail](mailto:a@example.org)\n\n<https://a.example>"

    told = words(as_pdf(open_incident(make_monitor(), summary=body)))

    expected = "Bold is • one • Mail (mailto:a@example.org) https://a.example"
    assert expected in told


def test_pdf_is_had_from_the_admin_and_over_the_api(admin, api, opened):
    page = admin.get(f"/admin/incidents/incident/{opened.pk}/change/")
    address = f"/admin/incidents/incident/{opened.pk}/export/pdf/"
    path = f"/api/v1/incidents/{opened.pk}/export/"
    answers = [
        admin.get(address),
        api.get(f"{path}?as=pdf"),
        api.get(path, headers={"accept": "application/pdf"}),
    ]

    assert f'href="{address}">Export as PDF</a>' in page.content.decode()
    for answer in answers:
        assert answer.headers["Content-Type"] == "application/pdf"
        assert "Orders fail" in words(answer.content)
    name = f'attachment; filename="incident-{opened.pk}.pdf"'
    assert answers[0].headers["Content-Disposition"] == name
    stranger = APIClient().get(f"{path}?as=pdf")
    assert stranger.status_code == 401


def test_printing_asks_as_much_for_one_entry_as_for_thirty(
    opened, make_monitor, django_assert_num_queries
):
    incident = Incident.objects.get(pk=opened.pk)
    as_pdf(incident)
    with django_assert_num_queries(3):
        as_pdf(incident)
    impacts = {make_monitor(f"m{n}"): "DOWN" for n in range(30)}
    incident.revise(at=timezone.now(), impacts=impacts)
    incident = Incident.objects.get(pk=opened.pk)

    with django_assert_num_queries(3):
        as_pdf(incident)
