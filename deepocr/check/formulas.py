"""Words of a page that belong to a formula of the text: formulas can be written in too many ways to
be compared."""

import numpy as np
import numpy.typing as npt

from deepocr.check.alignment import Alignment
from deepocr.check.words import Stream, runs_of

FORMULA_LETTERS = 8
"""Number of letters beside a formula that may belong to it, in addition to twice the formula's own
letters."""


def with_formulas(alignment: Alignment, found: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which words of the witness are found. Words beside a formula of the text count as found,
    within limits."""
    seen, text = alignment.witness, alignment.text
    found = found | seen.optional
    if not text.optional.any():
        return found
    for start, end in runs_of(~found):
        before = _partner(alignment, start - 1) + 1 if start else -1
        after = _partner(alignment, end) - 1 if end < len(found) else -1
        budget = max(_formula_letters(text, place) for place in (before, after))
        words = [seen.pieces[index].letters for index in range(start, end)]
        plain = sum(len(word) for word in words if word.isalpha() and len(word) > 2)
        within = sum(map(len, words)) <= 2 * budget + FORMULA_LETTERS
        if budget and within and plain <= FORMULA_LETTERS:
            found[start:end] = True
    return found


def _partner(alignment: Alignment, piece: int) -> int:
    """The piece of the text that a found piece of the witness is matched with."""
    starts = alignment.witness.starts
    letters = alignment.to_text[starts[piece] : starts[piece + 1]]
    matched = letters[letters >= 0]
    return int(alignment.text.piece_of[matched[0]]) if len(matched) else -2


def _formula_letters(text: Stream, piece: int) -> int:
    """Number of letters of the formulas at and around a piece."""
    optional = text.optional
    if not 0 <= piece < len(optional) or not optional[piece]:
        return 0
    low = high = piece
    while low and optional[low - 1]:
        low -= 1
    while high + 1 < len(optional) and optional[high + 1]:
        high += 1
    return int(text.starts[high + 1] - text.starts[low])
