"""What a model wrote, as HTML that can do no harm.

Markdown, HTML tables and TeX formulas are shown; scripts, styles, forms, frames, pictures from
elsewhere and links that are not plain web addresses are not. Time is linear in the text's length.
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
"""Of all formulas in one text; what follows is shown as it was written."""

MAX_MARKDOWN_CHARS = 100_000
"""Several pages' worth. Markdown takes ten seconds a megabyte; a longer text has its tags and
formulas read and its lines kept, no more."""

MAX_NESTING = 40
"""Two for a list inside of a list. A text that goes deeper is shown like one that is too long."""

_ATTRIBUTE = re.compile(
    r"""([^\s"'/=]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'=]++)))?+""",
)
_MANY_ENTITIES = re.compile("(?:&[^&]*+){500}")

# four blanks are an indent on a page, not a program; a dashed line is no heading
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
    # attributes have their formulas back before they are judged; MathML, which is safe, comes after
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
    """HTML, in which the text's own tags stand as they were written."""
    if len(text) <= MAX_MARKDOWN_CHARS:
        environment: dict[str, object] = {}
        tokens = _MARKDOWN.parse(text, environment)
        # what is nested deeper, as lists that a model in circles writes, the parser leaves out
        if all(token.level < MAX_NESTING - 1 for token in tokens):
            html_text: str = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, environment)
            return html_text
    return text.replace("\n", "<br>\n")


class _MarkedFormulas:
    """A text with marks for its formulas, which Markdown would take for its own signs.

    A mark holds a secret, so none can come from the text.
    """

    def __init__(self, text: str) -> None:
        secret = secrets.token_hex(8)
        # private characters are neither blank nor punctuation; in a link they come with percents
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
        """The tag with such attributes only as may be kept, and formulas in them as they were."""
        if tag.is_end:
            return str(tag)
        values: dict[str, str] = {}
        for name, *quoted in _ATTRIBUTE.findall(tag.attributes):
            if name.lower() in ATTRIBUTES.get(tag.name, ()):
                values.setdefault(name.lower(), "".join(quoted).replace('"', "&quot;"))
        written = "".join(f' {name}="{value}"' for name, value in values.items())
        return f"<{tag.name}{self._mark.sub(self._source, written)}>"

    def in_text(self, clean: str) -> str:
        """HTML with MathML in the place of marks."""
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
    """Text of HTML, in which no `<` begins a tag."""
    # nh3 takes quadratic time for entities that nothing comes between
    return _MANY_ENTITIES.sub(r"\g<0><!---->", text.replace("<", "&lt;"))


def _without_comments(text: str) -> str:
    """Without `<!-- ... -->`; one that never ends is text."""
    parts = []
    done = 0
    while (start := text.find("<!--", done)) >= 0 and (end := text.find("-->", start)) >= 0:
        parts.append(text[done:start])
        done = end + len("-->")
    return "".join((*parts, text[done:]))
