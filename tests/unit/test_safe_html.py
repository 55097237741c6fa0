"""What a model wrote as HTML: shown where it is harmless, gone or spelled out where it is not."""

import random
import re

import pytest

from deepocr.render.formulas import tex_to_mathml
from deepocr.render.safe_html import to_safe_html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# A *b*", "<h1>A <em>b</em></h1>\n"),
        ("one\ntwo", "<p>one<br>\ntwo</p>\n"),
        ("a < b & c", "<p>a &lt; b &amp; c</p>\n"),
        ("    indented", "<p>indented</p>\n"),
        (
            '<table><tr><td colspan="2" onclick="x()">1</td></tr></table>',
            '<table><tbody><tr><td colspan="2">1</td></tr></tbody></table>',
        ),
        ("<center>Figure 2.</center>", "<center>Figure 2.</center>"),
    ],
)
def test_text(text: str, html: str) -> None:
    assert to_safe_html(text) == html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![x](http://tracker.example/x.png)",
        "<iframe src=//x></iframe><object data=x></object><embed src=x>",
        "<style>* { display: none }</style><link rel=stylesheet href=x>",
        '<a href="javascript:alert(1)">x</a>',
        "<svg><script>alert(1)</script></svg>",
        '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 '
        'onerror=alert(1)&gt;">',
        "\\(\\text{<script>alert(1)</script>}\\)",
        "\\(\\href{javascript:alert(1)}{x}\\)",
        "\\(\\style{background:url(x)}{x}\\)",
        "<form action=x><input><button>x</button></form>",
        "<meta http-equiv=refresh content='0;url=x'><base href=x>",
    ],
)
def test_nothing_harmful_is_left(text: str) -> None:
    html = to_safe_html(text).lower()
    forbidden = r"<(script|img|iframe|object|embed|style|link|svg|form|input|button|meta|base)\b"
    assert not re.search(forbidden, html)
    assert not re.search(r"<[^>]*\b(on\w+|style|src)\s*=", html)
    assert not re.search(r"<[^>]*javascript:", html)


@pytest.mark.parametrize("depth", [12, 60])
@pytest.mark.parametrize(("mark", "end"), [("- ", "\n"), ("> ", "\n\n")])
def test_no_text_is_lost_however_deep_it_is_nested(depth: int, mark: str, end: str) -> None:
    indent = "  " if mark == "- " else mark
    html = to_safe_html("".join(f"{indent * n}{mark}item{n}{end}" for n in range(depth)))
    assert re.findall(r"item\d+", html) == [f"item{n}" for n in range(depth)]
    assert ("<li>" in html or "<blockquote>" in html) == (depth == 12)


def test_formulas_become_mathml() -> None:
    html = to_safe_html("see \\(x^2\\) and \\[\\frac{a}{b}\\]")
    assert '<math display="inline"><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math>' in html
    assert '<math display="block">' in html
    assert "<mfrac>" in html


def test_formulas_in_tables() -> None:
    assert "<td><math" in to_safe_html("<table><tr><td>\\(a<b\\)</td></tr></table>")


@pytest.mark.parametrize("forged", ["\ue0000\ue001", "&#xE000;0&#xE001;", "&#xE000;7&#xE001;"])
def test_placeholders_cannot_be_forged(forged: str) -> None:
    html = to_safe_html(f"{forged} \\(x\\)")
    assert html.count("<math") == 1
    assert html.startswith("<p>\ue000")


def test_a_formula_in_an_attribute_stays_as_it_was_written() -> None:
    rel = 'rel="noopener noreferrer nofollow"'
    assert to_safe_html('<a href="http://x/\\(y_1\\)">z</a>') == (
        f'<p><a href="http://x/\\(y_1\\)" {rel}>z</a></p>\n'
    )
    assert f'<a href="http://x/\\(y_1\\)" {rel}>z</a> <math' in to_safe_html(
        "[z](http://x/\\(y_1\\)) \\(y\\)"
    )
    cell = to_safe_html("<table><tr><td align='\\(\">x\\)'>z</td></tr></table>")
    assert '<td align="\\(&quot;' in cell


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("<b><i>x</b></i> y", "<p><b><i>x</i></b> y</p>\n"),
        ("a <b and <i>c", "<p>a &lt;b and <i>c</i></p>\n"),
        ("a <!-- c --> b <!-- d", "<p>a  b &lt;!-- d</p>\n"),
    ],
)
def test_bad_markup_loses_no_text(text: str, html: str) -> None:
    assert to_safe_html(text) == html


@pytest.mark.parametrize(
    "tex", ["\\frac{", "{" * 5000, "\\left(" * 200, "x" * 10_000, "\\begin{q}", ""]
)
def test_tex_that_cannot_be_converted_is_shown_as_it_is(tex: str) -> None:
    html = tex_to_mathml(tex, display=True)
    assert html.startswith("<code") or html.startswith("<math")
    assert "<script" not in html


def test_random_tex_never_breaks_out() -> None:
    chance = random.Random(7)
    words = (
        "\\frac { } ^ _ \\left \\right ( ) \\begin{array} \\end{array} & \\\\ x \\sqrt [ ] \\text "
        '\\color \\href \\style \\not % # ~ <b> "q" \' \\class \\id'
    )
    parts = words.split()
    for _ in range(1500):
        tex = " ".join(chance.choice(parts) for _ in range(chance.randint(1, 14)))
        html = tex_to_mathml(tex, display=False)
        names = set(re.findall(r"</?([a-z]+)", html))
        assert all(name == "code" or name.startswith(("m", "none")) for name in names), html
        assert not re.search(r"\b(href|style|class|id)=", html) or html.startswith("<code"), html
