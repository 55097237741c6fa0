"""Words in a comparable form, and the stream of their letters.

Two readers of one page agree on letters and digits, but on little else: spaces, hyphens at the end
of a line, quotes and formatting differ. So only the letters of words are compared.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from deepocr.types import Box

WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Scripts written without spaces: each character is a word here."""

TATWEEL = "\u0640"
"""Stretches Arabic words; it is not a letter."""

# signs of formulas; a minus before a number is none
_FORMULA_SIGN = re.compile(
    r"[=+±·×√∑∏∫≤≥≈≠∈∉⊂∞∂∇→⇒⟨⟩^|{}≪≫∪∩ƒ\u0370-\u03ff\U0001d400-\U0001d7ff]|\w\(|\)\(|[−<>]"
)
_FUNCTION = re.compile(r"\b[^\W\d_]{1,4}\((?!s\))\w{1,2}[,)]")
_WORD_OR_NUMBER = re.compile(r"[^\W\d_]{3,}|\d{4,}|^\W*[−–-]?[\d.,%]+\W*$")
_FUNCTIONS = re.compile(r"\b(?:log|exp|sin|cos|tan|lim|max|min|mod|erf|inf|sup|det)\b")
_SCRAP = re.compile(r"\W*(?:[b-zB-HJ-Z]|\w\d|\d\w?|)\W*")

_DATE = re.compile(r"\d{1,4}/\d{1,2}/\d{1,4}\b")
_PARTS = re.compile(r"\d+/?|[^\d]+")
_PIECE = re.compile(rf"[{WIDE}]|[^\s{WIDE}]+")


@dataclass(frozen=True)
class Piece:
    """A word; `formula` is whether it is part of a marked formula. `line` is the witness's line or
    the text's block; `end` is where the word ends in its region's text."""

    text: str
    letters: str
    line: int
    box_px: Box | None = None
    formula: bool = False
    in_table: bool = False
    end: int = 0


@lru_cache(maxsize=1 << 16)
def letters_of(text: str) -> str:
    """Letters and digits in their plainest form: no case, no accents, no ligatures."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(
        character
        for character in plain
        if character.isalnum() or unicodedata.category(character) in ("Mc", "Mn")
        if not "\u0300" <= character <= "\u036f" and character != TATWEEL
    )


def split_words(text: str) -> list[str]:
    """Split at white space. Every Chinese, Japanese or Korean character is a word, and so is every
    number of a date, because among words from right to left these are in another order."""
    words: list[str] = _PIECE.findall(text)
    if "/" not in text:
        return words
    return [
        part for word in words for part in (_PARTS.findall(word) if _DATE.match(word) else [word])
    ]


def formulas(pieces: Sequence[Piece]) -> npt.NDArray[np.bool_]:
    """Which pieces are formulas, marked or not; single letters and digits beside a formula belong
    to it."""
    marked = [piece.formula or _is_formula(piece.text) for piece in pieces]
    for numbers in (range(1, len(pieces)), range(len(pieces) - 2, -1, -1)):
        for index in numbers:
            before = index - numbers.step
            beside = marked[before] and pieces[before].line == pieces[index].line
            marked[index] |= beside and bool(_SCRAP.fullmatch(pieces[index].text))
    return np.array(marked, bool)


@lru_cache(maxsize=1 << 16)
def _is_formula(text: str) -> bool:
    bare = _FUNCTIONS.sub("", text)
    if _FUNCTION.search(bare):
        return True
    return bool(_FORMULA_SIGN.search(bare)) and not _WORD_OR_NUMBER.search(bare)


def runs_of(flags: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Start and end of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.view(np.int8), [0]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


@dataclass(frozen=True, eq=False)
class Stream:
    """All letters of `pieces` in one string; `piece_of[i]` is the piece of letter i, and piece p
    has the letters from `starts[p]` to `starts[p + 1]`. Formulas are `optional`: they can be
    written in too many ways to be counted."""

    pieces: Sequence[Piece]
    letters: str
    starts: npt.NDArray[np.int64]
    piece_of: npt.NDArray[np.int64]
    optional: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, pieces: Iterable[Piece]) -> "Stream":
        every = list(pieces)
        optional = formulas(every)
        kept = [index for index, piece in enumerate(every) if piece.letters]
        chosen = [every[index] for index in kept]
        sizes = [len(piece.letters) for piece in chosen]
        starts = np.array(list(accumulate(sizes, initial=0)), np.int64)
        piece_of = np.repeat(np.arange(len(chosen)), sizes)
        letters = "".join(piece.letters for piece in chosen)
        return cls(chosen, letters, starts, piece_of, optional[kept])
