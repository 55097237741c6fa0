"""What a model wrote, as HTML that can do no harm.

Markdown, HTML tables and TeX formulas are shown; scripts, styles, forms, frames, pictures from
elsewhere and links that are not plain web addresses are not.
"""

import re

import nh3
from markdown_it import MarkdownIt

from deepocr.render.formulas import tex_to_mathml

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

_FORMULA = re.compile(r"\\\[(.+?)\\\]|\\\((.+?)\\\)|\$\$(.+?)\$\$", re.DOTALL)

# private characters stand for formulas while Markdown is read; none may come from the text itself
_MARK, _MARK_END = "\ue000", "\ue001"
_PLACE = re.compile(f"{_MARK}([0-9]+){_MARK_END}")
_PRIVATE = {ord(_MARK): None, ord(_MARK_END): None}

# four blanks are an indent on a page, not a program; a dashed line is no heading
_MARKDOWN = (
    MarkdownIt("commonmark", {"html": True, "breaks": True})
    .enable("table")
    .disable(["code", "lheading", "image", "reference"])
)


def to_safe_html(text: str) -> str:
    """Model output as HTML, its formulas as MathML."""
    formulas: list[str] = []

    def put_aside(match: re.Match[str]) -> str:
        block, inline, dollars = match.groups()
        tex = block or inline or dollars
        formulas.append(tex_to_mathml(tex, display=inline is None))
        return f"{_MARK}{len(formulas) - 1}{_MARK_END}"

    marked = _FORMULA.sub(put_aside, text.translate(_PRIVATE))
    clean = nh3.clean(
        _MARKDOWN.render(marked),
        tags=TAGS,
        attributes=ATTRIBUTES,
        url_schemes={"http", "https"},
        link_rel="noopener noreferrer nofollow",
    )
    return _PLACE.sub(lambda match: formulas[int(match[1])], clean)
