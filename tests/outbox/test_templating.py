import html.parser
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from outbox import templating
from outbox.templating import TemplateInvalid, check, render, unknown

VALUES = {
    "name": "Web Shop",
    "said": 'He said "no"\n',
    "number": 5,
    "half": 2.5,
    "nothing": None,
    "yes": True,
    "no": False,
    "empty": "",
    "items": ["a", "b"],
    "monitor": {"name": "Shop", "tag": "shop"},
}


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("plain", "plain"),
        ("{{name}} {{ name }} {{{name}}} {{&name}}", " ".join(["Web Shop"] * 4)),
        ("{{monitor.name}} {{monitor.nobody}} {{name.tag}}|", "Shop  |"),
        ("{{number}} {{half}} {{yes}} {{nothing}}|", "5 2.5 true |"),
        ("{{#yes}}A{{/yes}}{{#no}}B{{/no}}{{#empty}}C{{/empty}}", "A"),
        ("{{^yes}}A{{/yes}}{{^no}}B{{/no}}{{^gone}}C{{/gone}}", "BC"),
        ("{{#items}}<{{.}}>{{/items}}{{^items}}none{{/items}}", "<a><b>"),
        ("{{#monitor}}{{tag}} of {{number}}{{/monitor}}", "shop of 5"),
        ("{{#name}}named {{.}}{{/name}}", "named Web Shop"),
        ("a{{! not said }}b", "ab"),
        ("a\n  {{#yes}}\nb\n  {{/yes}}\nc", "a\nb\nc"),
        ("{{! first }}\na\n", "a\n"),
        ("{{#yes}}a{{/yes}}\nb", "a\nb"),
        ("{{__class__}}{{name.__class__}}{{items.0}}{{name.upper}}", ""),
    ],
)
def test_mustache_says_what_it_says_elsewhere(source, made):
    assert render(source, VALUES, "text") == made


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a\n{{#yes}}", "Line 2: The section yes is not closed; write {{/yes}} where"),
        ("{{/yes}}", "Line 1: {{/yes}} closes nothing; no section is open."),
        ("{{#a}}\n\n{{/b}}", "Line 3: {{/b}} closes nothing; the open section is a."),
        ("\n{{name", "Line 2: {{ begins a tag that does not end"),
        ("{{a b}}", "Line 1: {{a b}} holds no name"),
        ("{{}}", "Line 1: {{}} holds no name"),
        ("{{> /etc/passwd}}", "Line 1: {{>/etc/passwd}} is not supported"),
        ("{{=<% %>=}}", "is not supported"),
        ("x" * 20_001, "20,001 characters; 20,000 are the most"),
        ("{{#a}}" * 11 + "{{/a}}" * 11, "is in too many sections; 10 are the most"),
    ],
)
def test_template_that_is_none_says_where_and_what_to_do(source, said):
    with pytest.raises(TemplateInvalid) as refused:
        render(source, VALUES, "text")

    assert said in str(refused.value)


def test_what_grows_too_long_or_takes_too_long_is_refused():
    many = {"l": list(range(200)), "long": "x" * 5000}

    with pytest.raises(TemplateInvalid, match="more than 200,000 characters"):
        render("{{#l}}{{long}}{{/l}}", many, "text")
    with pytest.raises(TemplateInvalid, match="nest them less"):
        render("{{#l}}" * 9 + "{{/l}}" * 9, many, "text")


def test_json_takes_texts_in_strings_and_literals_outside():
    source = (
        '{"said": "{{said}} {{{said}}}", "free": {{said}}, "n": {{number}}, '
        '"none": {{nothing}}, "in": "[{{nothing}}{{number}}]", "is": {{yes}}, '
        '"all": {{monitor}}}'
    )

    assert json.loads(render(source, VALUES, "json")) == {
        "said": 'He said "no"\n He said "no"\n',
        "free": 'He said "no"\n',
        "n": 5,
        "none": None,
        "in": "[5]",
        "is": True,
        "all": {"name": "Shop", "tag": "shop"},
    }


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('{"a": "{{name}}",\n}', "Line 2: This makes no JSON:"),
        ('{"a":\n "x\n{{name}}"}', "Line 2: This makes no JSON: a string goes over"),
        ('{"a": "\\{{name}}"}', "Line 1: A backslash stands before a tag"),
        ('{"a": "\\u00{{number}}"}', "A backslash stands before a tag"),
        ('{"a": NaN}', "NaN is no value of JSON"),
        ("", "This makes no JSON"),
        ("[" * 19_000, "too deep"),
    ],
)
def test_what_makes_no_json_says_where(source, said):
    with pytest.raises(TemplateInvalid) as refused:
        render(source, VALUES, "json")

    assert said in str(refused.value)


@pytest.mark.parametrize(
    "source",
    [
        "<a href={{name}}>",
        "<b {{name}}>",
        "<p class='x' {{#yes}}{{name}}{{/yes}}>",
    ],
)
def test_html_wants_quotes_around_what_stands_in_a_tag(source):
    with pytest.raises(TemplateInvalid, match="Line 1: Put quotes around"):
        render(source, VALUES, "html")


def test_html_lets_nothing_in_unescaped():
    with pytest.raises(TemplateInvalid, match=r"write \{\{name\}\}"):
        render("{{{name}}}", VALUES, "html")
    shown = render("<!-- it's --><p title='{{x}}'>{{x}}</p>", {"x": "<'&\">"}, "html")
    assert shown.count("&lt;&#x27;&amp;&quot;&gt;") == 2


def test_a_line_stays_one_and_a_form_keeps_its_parts():
    assert render("{{a}}\n b", {"a": "x\r\nBcc: y\x00\u2028z"}, "line") == (
        "x Bcc: y z b"
    )
    assert render("a={{a}}&b=1", {"a": "x&b=2 ä"}, "url") == "a=x%26b%3D2%20%C3%A4&b=1"


def test_names_that_nothing_is_known_by_are_told():
    source = (
        "{{alert_nmae}}{{alert_name}}{{#monitor}}{{tag}}{{/monitor}}{{incident.id}}"
    )

    assert unknown(source) == ["alert_nmae"]
    assert unknown("{{a}}{{.}}{{b}}{{a}}", known=["b"]) == ["a"]


def test_template_is_tried_on_alerts_that_trigger_and_resolve():
    check(
        '{{#is_triggered}}{"a": 1}{{/is_triggered}}{{^is_triggered}}2{{/is_triggered}}',
        "json",
    )
    with pytest.raises(TemplateInvalid, match="Line 1"):
        check('{{#is_triggered}}{"a": 1}{{/is_triggered}}', "json")
    # Bare, an alert has no error, and with it goes the comma.
    with pytest.raises(TemplateInvalid, match="Line 1"):
        check('{"a": 1{{#alert_error}},{{/alert_error}} "b": 2}', "json")


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
NASTY = '"}, "x": "\\'
BODY = (
    '{"in": "a {{v}} {{{w}}}", "{{v}}key": {{w}}, "l": [{{#v}}"{{.}}",{{/v}} {{v}}], '
    '"o": {"n": "\\n\\u00e9{{w}}\\\\"}}'
)


@given(v=anything, w=anything)
@example(v=NASTY, w="\ud800")
@example(v=10**5000, w=float("inf"))
def test_no_value_breaks_json(v, w):
    made = json.loads(render(BODY, {"v": v, "w": w}, "json"))

    assert [name for name in made if not name.endswith("key")] == ["in", "l", "o"]
    assert made["o"]["n"].startswith("\né")
    assert made["o"]["n"].endswith("\\")


class Outline(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.seen = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, [name for name, _ in attrs]))

    def handle_endtag(self, tag):
        self.seen.append(tag)

    def handle_comment(self, text):
        self.seen.append("comment")


PAGE = "<p class='{{v}}' title=\"{{w}}\">{{v}} <b>{{w}}</b> {{v}}</p>"


@given(v=anything, w=anything)
@example(v="' onclick='x", w='"><script>')
def test_no_value_breaks_html(v, w):
    plain = Outline(render(PAGE, {}, "html")).seen

    assert Outline(render(PAGE, {"v": v, "w": w}, "html")).seen == plain


@given(v=anything)
def test_no_value_breaks_a_line(v):
    made = render("Re: {{v}}", {"v": v}, "line")

    assert len(made.splitlines()) == 1
    assert made.startswith("Re:")
    made.encode()


pieces = st.sampled_from(
    [
        *("{{v}}", "{{{v}}}", "{{#v}}", "{{/v}}", "{{^v}}", "{{.}}", "{{v.a}}"),
        *('"', "\\", "{", "}", "[", "]", ":", ",", "\n", " ", "<", ">", "a", "{{"),
        *("{{!c}}", "{{=", "&", "\\u0", "<a b=", "'", "<!--", "-->"),
    ]
)


@given(
    source=st.lists(pieces, max_size=30).map("".join),
    v=anything,
    form=st.sampled_from(sorted(templating.FORMS)),
)
@settings(max_examples=300)
def test_any_template_makes_something_fit_or_says_why(source, v, form):
    try:
        made = render(source, {"v": v}, form)
    except TemplateInvalid as refused:
        assert str(refused)
    else:
        if form == "json":
            json.loads(made)
