"""Lines to running text: hyphens, spaces, scripts."""

import re
import unicodedata
from collections.abc import Collection, Iterable

from deepocr.engines.ppocr.recognition.lines import TextLine

HYPHENS = "-\u00ad\u2010"

_WORD_END = re.compile(r"([^\W\d_]+)[-\u00ad\u2010]$")
_WORD_START = re.compile(r"^([^\W\d_]+)")

_TIDY = (
    # full-width marks that the recognizer puts into Latin text
    (re.compile(r"(?<=[A-Za-z0-9])，\s*"), ", "),
    (re.compile(r"(?<=[A-Za-z0-9])：\s*"), ": "),
    (re.compile(r"(?<=[A-Za-z0-9])；\s*"), "; "),
    (re.compile(r"（(?=[A-Za-z0-9])"), "("),
    (re.compile(r"(?<=[A-Za-z0-9])）"), ")"),
)


def join_lines(lines: Iterable[TextLine], words: Collection[str] = ()) -> str:
    """The text of lines in their order; `words` are those of the page, to judge hyphens by."""
    text = ""
    for line in lines:
        text = join_texts(text, tidy(line.text), words)
    return text


def join_texts(text: str, more: str, words: Collection[str] = ()) -> str:
    """Two lines as one: words cut by a hyphen are joined, Chinese goes without a space.

    A hyphen stays where the page has the word with it elsewhere, or where what follows is no
    lower-case letter (a name, a number).
    """
    if not text or not more:
        return text or more
    if is_cjk(text[-1]) and is_cjk(more[0]):
        return text + more
    cut, rest = _WORD_END.search(text), _WORD_START.match(more)
    if cut and rest:
        if more[0].islower() and f"{cut[1]}-{rest[1]}".casefold() not in words:
            return text[:-1] + more
        return text + more
    if text[-1] in HYPHENS and len(text) > 1 and text[-2].isalnum() and more[0].isalnum():
        return text + more
    return f"{text} {more}"


def tidy(text: str) -> str:
    """One line's text, with marks as its script writes them."""
    for pattern, mark in _TIDY:
        text = pattern.sub(mark, text)
    return text.strip()


def is_cjk(character: str) -> bool:
    """Chinese, Japanese, their marks: written without spaces."""
    if "\uac00" <= character <= "\ud7a3":  # Korean has spaces
        return False
    return unicodedata.east_asian_width(character) in "WF"


def hyphenated_words(lines: Iterable[TextLine]) -> frozenset[str]:
    """Words with a hyphen inside, lower case, as the lines have them."""
    found: set[str] = set()
    for line in lines:
        found.update(word.casefold() for word in re.findall(r"[^\W\d_]+-[^\W\d_]+", line.text))
    return frozenset(found)
