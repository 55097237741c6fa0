"""Divides one text of many pages into the texts of its pages, by what is printed on each."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from deepocr.check.reading import read_regions
from deepocr.check.stretches import equal_stretches
from deepocr.check.witness import Witness
from deepocr.check.words import Stream
from deepocr.errors import InvalidInput
from deepocr.types import Region

_CLOSING = re.compile(r"[^\w\n<]*")

MAX_WORK = 200_000_000
"""Limit for the number of words times the number of pages."""


def divide(text: str, witnesses: Sequence[Witness]) -> list[str]:
    """The part of the text for each page, cut so that as many words as possible are with the page
    on which they are printed.

    The pages must be in order. Raises InvalidInput for a text too long to be divided.
    """
    words = Stream.of(read_regions([Region("text", text)]).pieces)
    if len(words.pieces) * len(witnesses) > MAX_WORK:
        raise InvalidInput(
            f"a text of {len(words.pieces):,} words cannot be divided into {len(witnesses)} pages; "
            "give a file for each page, or put page splits into it"
        )
    shown = Stream.of(
        replace(piece, line=page)
        for page, witness in enumerate(witnesses)
        for piece in witness.pieces()
    )
    page_of = np.array([piece.line for piece in shown.pieces], np.int64)
    letters = np.zeros((len(witnesses), len(words.pieces)), np.int32)
    for first, second, size in equal_stretches(shown.letters, words.letters):
        pages = page_of[shown.piece_of[first : first + size]]
        np.add.at(letters, (pages, words.piece_of[second : second + size]), 1)
    ends = [_end(text, words.pieces[count - 1].end) if count else 0 for count in _cuts(letters)]
    starts = [0, *ends]
    return [text[start:end] for start, end in zip(starts, [*ends, len(text)], strict=True)]


def _end(text: str, end: int) -> int:
    """The place after the marks that close a word: a period, the end of a row."""
    match = _CLOSING.match(text, end)
    return match.end() if match else end


def _cuts(letters: npt.NDArray[np.int32]) -> list[int]:
    """How many words come before each page but the first, so that as many letters as possible are
    on their own page. `letters` counts them by page and word."""
    num_pages, num_words = letters.shape
    sums = np.zeros((num_pages, num_words + 1), np.int64)
    np.cumsum(letters, axis=1, out=sums[:, 1:])
    # `most`: the most letters that the first pages can have of the first n words; `begins`: the
    # word at which the last of these pages begins
    most, begins = sums[0], []
    for page in range(1, num_pages):
        before = most - sums[page]
        best = np.maximum.accumulate(before)
        new = np.concatenate([[True], before[1:] > best[:-1]])
        begins.append(np.maximum.accumulate(np.where(new, np.arange(num_words + 1), 0)))
        most = best + sums[page]
    cuts = [num_words]
    for starts in reversed(begins):
        cuts.append(int(starts[cuts[-1]]))
    return cuts[:0:-1]
