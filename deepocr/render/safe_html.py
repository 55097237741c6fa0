"""Converts a model's output into harmless HTML.

Markdown, HTML tables and TeX formulas are shown. Scripts, styles, forms, frames, external pictures
and links other than plain web addresses are removed. Time is linear in the text's length.
"""

import html
import re
import secrets

import nh3
from markdown_it import MarkdownIt

from deepocr.parsing.markup import Tag, nest, split_tags
from deepocr.parsing.text import encodable
from deepocr.render.formulas import Formula, as_code, split_formulas, tex_to_mathml

_TAGS = (
    "p br hr h1 h2 h3 h4 h5 h6 b strong i em u s del ins sub sup small blockquote pre "
    "code ul ol li dl dt dd table caption colgroup col thead tbody tfoot tr th td "
    "center a span div"
)
TAGS = set(_TAGS.split())
ATTRIBUTES = {
    "td": {"colspan", "rowspan", "align"},
    "th": {"colspan", "rowspan", "align"},
    "col": {"span"},
    "ol": {"start"},
    "a": {"href"},
}

MAX_TEX_CHARS = 100_000
"""Most characters of all formulas in one text; further formulas are shown as they were written."""

MAX_MARKDOWN_CHARS = 100_000
"""As much as several pages. Markdown takes ten seconds per megabyte; of a longer text only tags,
formulas and line breaks are interpreted."""

MAX_NESTING = 40
"""Deepest nesting of Markdown; a list inside a list adds two. A deeper text is treated like one
that is too long."""

_ATTRIBUTE = re.compile(
    r"""([^\s"'/=]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'=]++)))?+""",
)
_MANY_ENTITIES = re.compile("(?:&[^&]*+){500}")

# on a page, four spaces are an indent and not code, and a dashed line does not make a heading
_MARKDOWN = (
    MarkdownIt("commonmark", {"html": True, "breaks": True, "maxNesting": MAX_NESTING})
    .enable("table")
    .disable(["code", "lheading", "image", "reference"])
)


def to_safe_html(text: str) -> str:
    """Model output as HTML, its formulas as MathML."""
    formulas = _MarkedFormulas(encodable(text))
    marked = _from_markdown(formulas.marked)
    pieces = split_tags(_without_comments(marked))
    known = (piece for piece in pieces if isinstance(piece, str) or piece.name in TAGS)
    # formulas in attributes are restored before cleaning; MathML, which is safe, is inserted
    # afterward
    clean = nh3.clean(
        "".join(
            _escape(piece) if isinstance(piece, str) else formulas.in_tag(piece)
            for piece in nest(known)
        ),
        tags=TAGS,
        attributes=ATTRIBUTES,
        url_schemes={"http", "https"},
        link_rel="noopener noreferrer nofollow",
    )
    return formulas.in_text(clean)


def _from_markdown(text: str) -> str:
    """The text as HTML, with its own tags unchanged."""
    if len(text) <= MAX_MARKDOWN_CHARS:
        environment: dict[str, object] = {}
        tokens = _MARKDOWN.parse(text, environment)
        # the parser drops what is nested deeper, such as the lists of a model in a loop
        if all(token.level < MAX_NESTING - 1 for token in tokens):
            html_text: str = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, environment)
            return html_text
    return text.replace("\n", "<br>\n")


class _MarkedFormulas:
    """A text with placeholders for its formulas, which Markdown would take for its own syntax.

    A placeholder has a secret, so that the text cannot contain one.
    """

    def __init__(self, text: str) -> None:
        secret = secrets.token_hex(8)
        # private-use characters are neither space nor punctuation; links have them percent-encoded
        self._mark = re.compile(f"(?:\ue000|%EE%80%80){secret}x([0-9]+)(?:\ue001|%EE%80%81)")
        self._formulas: list[Formula] = []
        parts = []
        for piece in split_formulas(text):
            if isinstance(piece, Formula):
                parts.append(f"\ue000{secret}x{len(self._formulas)}\ue001")
                self._formulas.append(piece)
            else:
                parts.append(piece)
        self.marked = "".join(parts)

    def in_tag(self, tag: Tag) -> str:
        """The tag with only its allowed attributes, and formulas in them as they were written."""
        if tag.is_end:
            return str(tag)
        values: dict[str, str] = {}
        for name, *quoted in _ATTRIBUTE.findall(tag.attributes):
            if name.lower() in ATTRIBUTES.get(tag.name, ()):
                values.setdefault(name.lower(), "".join(quoted).replace('"', "&quot;"))
        written = "".join(f' {name}="{value}"' for name, value in values.items())
        return f"<{tag.name}{self._mark.sub(self._source, written)}>"

    def in_text(self, clean: str) -> str:
        """The HTML with MathML in place of the placeholders."""
        chars_left = MAX_TEX_CHARS

        def show(match: re.Match[str]) -> str:
            nonlocal chars_left
            formula = self._formulas[int(match[1])]
            chars_left -= len(formula.source)
            if chars_left < 0:
                return as_code(formula.source)
            return tex_to_mathml(formula.tex, display=formula.display)

        return self._mark.sub(show, clean)

    def _source(self, match: re.Match[str]) -> str:
        return html.escape(self._formulas[int(match[1])].source)


def _escape(text: str) -> str:
    """The text escaped so that no `<` begins a tag."""
    # nh3 takes quadratic time for entities with nothing in between
    return _MANY_ENTITIES.sub(r"\g<0><!---->", text.replace("<", "&lt;"))


def _without_comments(text: str) -> str:
    """The text without `<!-- ... -->`; a comment that never ends is text."""
    parts = []
    done = 0
    while (start := text.find("<!--", done)) >= 0 and (end := text.find("-->", start)) >= 0:
        parts.append(text[done:start])
        done = end + len("-->")
    return "".join((*parts, text[done:]))
