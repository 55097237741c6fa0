"""The words of a result, and how far they agree with the PDF's own text layer."""

import re
from collections import Counter
from collections.abc import Sequence

from deepocr.types import PageResult, Word

MIN_OWN_WORDS = 5
"""Least number of words in a text layer for a comparison."""

_TOKEN = re.compile(r"\w+")
_TAG = re.compile(r"<[^<>]{1,200}>")


def agreement(result: PageResult, words: Sequence[Word]) -> float | None:
    """How far the text and the PDF's own words agree, 0 to 1: twice the number of common words,
    divided by the number of words of both. None if the PDF has too few words."""
    own = Counter(token.casefold() for word in words for token in tokens(word.text))
    if own.total() < MIN_OWN_WORDS:
        return None
    found = Counter(token.casefold() for token in tokens(text_of(result)))
    return round(2 * (own & found).total() / (own.total() + found.total()), 4)


def text_of(result: PageResult) -> str:
    """The words of a result, without tags of any kind."""
    return _TAG.sub(" ", "\n".join(region.text for region in result.regions))


def tokens(text: str) -> list[str]:
    """Words and numbers."""
    return _TOKEN.findall(text)
