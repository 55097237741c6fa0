"""What a page says, without the marks of any output form."""

import html
import re
import unicodedata

from deepocr.types import PageResult

_TAG_BETWEEN_BLOCKS = re.compile(
    r"</?(?:tr|td|th|table|thead|tbody|p|br|div|center|li|ul|ol)\b[^<>]*>", re.IGNORECASE
)
_OTHER_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_MARKDOWN = (
    (re.compile(r"^\s{0,3}#{1,6}\s+", re.MULTILINE), ""),
    (re.compile(r"^[\s|:-]*-{3}[\s|:-]*$", re.MULTILINE), ""),  # the line under a table's head
    (re.compile(r"\*\*|__|(?<=\s)\|(?=\s)|^\||\|$", re.MULTILINE), ""),
    (re.compile(r"\\[()\[\]]"), ""),
    (re.compile(r"\\([%$#&_])"), r"\1"),
)


def page_text(page: PageResult) -> str:
    """The text of all regions in reading order, in plain letters."""
    return plain("\n".join(region.text for region in page.regions))


def plain(text: str) -> str:
    """Letters and single spaces: tags, Markdown and formula marks are gone, forms unified."""
    text = _TAG_BETWEEN_BLOCKS.sub(" ", text)
    text = html.unescape(_OTHER_TAG.sub("", text))
    for pattern, instead in _MARKDOWN:
        text = pattern.sub(instead, text)
    return " ".join(unicodedata.normalize("NFKC", text).split())
