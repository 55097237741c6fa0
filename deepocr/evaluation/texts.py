"""Texts made comparable, how far apart they are, and where one stands in another."""

import re
import unicodedata

import numpy as np
from rapidfuzz.distance import Levenshtein

_LOOKALIKES = str.maketrans(
    {
        **dict.fromkeys("‘’‚", "'"),
        **dict.fromkeys("“”„", '"'),
        **dict.fromkeys("–—‑‒−", "-"),
        "＿": "_",
        "\u00b5": "\u03bc",
    }
)
_MARKUP = (
    (re.compile(r"<br\s*/?>"), " "),
    (re.compile(r"\*\*(.*?)\*\*"), r"\1"),
    (re.compile(r"__(.*?)__"), r"\1"),
    (re.compile(r"</?[bi]>"), ""),
    (re.compile(r"\*(.*?)\*"), r"\1"),
    (re.compile(r"_(.*?)_"), r"\1"),
    (re.compile(r"\s+"), " "),
)
_PLAIN = (
    (re.compile(r"<!--.*?-->", re.DOTALL), " "),
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), " "),
    (re.compile(r"</?(?:table|thead|tbody|tr|td|th|center|sup|sub)\b[^>]*>"), " "),
    (re.compile(r"^#{1,6}\s+|^[-*]\s+", re.MULTILINE), ""),
)


def normalize(text: str) -> str:
    """As olmOCR-bench compares: without bold and italic marks, with plain quotes and dashes."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return unicodedata.normalize("NFC", text).translate(_LOOKALIKES)


def plain(markdown: str) -> str:
    """The words of a Markdown text: no headings' marks, links to figures, table tags, comments."""
    for pattern, replacement in _PLAIN:
        markdown = pattern.sub(replacement, markdown)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        markdown = markdown.replace(entity, character)
    return normalize(markdown).strip()


def error_rate(reference: str, text: str) -> float:
    """Characters to insert, delete or change, per character of the reference; may exceed 1."""
    return Levenshtein.distance(reference, text) / max(1, len(reference))


def edit_distance(reference: str, text: str) -> float:
    """The same per character of the longer text: 0 is equal, 1 has nothing in common."""
    return float(Levenshtein.normalized_distance(reference, text))


def match_starts(pattern: str, text: str, max_diffs: int) -> list[int]:
    """Where something begins in `text` that is at most `max_diffs` edits from `pattern`."""
    # Sellers' algorithm from the end: a column of distances for each character of the text
    size = len(pattern)
    wanted = np.array([ord(character) for character in reversed(pattern)], np.int64)
    steps = np.arange(size + 1)
    column = steps.copy()
    starts = []
    for offset, character in enumerate(reversed(text)):
        change = column[:-1] + (wanted != ord(character))
        best = np.minimum(change, column[1:] + 1)
        # an edit within the pattern costs one a step: a running minimum along the column
        column = np.concatenate([[0], best])
        column = np.minimum.accumulate(column - steps) + steps
        if column[size] <= max_diffs:
            starts.append(len(text) - 1 - offset)
    return sorted(starts)
