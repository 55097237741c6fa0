"""The text of a page according to an independent reader, as lines with their places, and whether to
trust it.

Text layers can be wrong: fonts without an encoding, letters that occur twice, text hidden in
another place. Such a layer is no witness; no verdict is better than a wrong one.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from deepocr.check.words import Piece, letters_of, split_words
from deepocr.types import Box, Page, PageResult, Word

MIN_WORDS = 5
"""Least number of words of a text layer; fewer are a stamp or a page number on a scan."""

MAX_ODD = 0.02
"""Largest share of characters that no page shows: replacement, private use, control."""

MAX_DOUBLED = 0.1
"""Largest share of words that stand in the same place as an equal word."""

MAX_MARKS_TWICE = 0.005
"""Largest share of characters that repeat a vowel sign or an accent, which no script does."""

VOWELS = (0.2, 0.65)
"""Range of the share of vowels among Latin letters in any language; wrong encodings have too few or
too many."""

MIN_LATIN = 200
"""Least number of Latin letters for that share to mean something."""

MIN_CONFIDENCE = 0.85
"""Least mean confidence of the CPU reader on a page; below it, the reader cannot read its script or
print."""

MIN_LINE_CONFIDENCE = 0.7

_READABLE = re.compile("[0-9a-z\u00aa-\u024f\u0370-\u03ff\u2e80-\u30ff\u3400-\u9fff]")
"""Scripts of the CPU reader: Latin, Greek, Chinese, Japanese."""

FURNITURE = frozenset({"header", "footer", "page_number", "aside", "watermark"})
FIGURES = frozenset({"image", "figure", "chart", "picture"})


@dataclass(frozen=True)
class SeenLine:
    """A line of the witness. `role` is "text", "furniture" or "figure", as far as the witness
    knows."""

    words: tuple[Word, ...]
    box_px: Box
    role: str = "text"
    sideways: bool = False

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def height_px(self) -> int:
        """Height of its letters in pixels: for a sideways line, the width of its box."""
        x1, y1, x2, y2 = self.box_px
        return x2 - x1 if self.sideways else y2 - y1


@dataclass(frozen=True)
class Witness:
    """`name` is "text layer", "ppocr", "ink" (the page is blank) or "none", `reason` why."""

    name: str
    reason: str
    lines: tuple[SeenLine, ...] = ()

    def can_read(self, character: str) -> bool:
        """Whether the witness knows the character's script; a text layer knows every script."""
        return self.name != "ppocr" or bool(_READABLE.match(character))

    def pieces(self) -> Iterator[Piece]:
        """The words of all lines."""
        for number, line in enumerate(self.lines):
            for word in line.words:
                yield from _pieces(word, number)


def layer_witness(page: Page) -> Witness:
    """The PDF's own text layer, or "none" with the reason it is not sound."""
    fault = _fault_of(page.words)
    if fault:
        return Witness("none", fault)
    return Witness("text layer", "the PDF's own text is sound", tuple(_lines(page.words)))


def reader_witness(result: PageResult) -> Witness:
    """The text that the CPU reader read, or "none" if its confidence is too low."""
    if result.status == "failed":
        return Witness("none", f"the CPU reader failed: {result.error}")
    lines = [(line, region) for region in result.regions for line in region.lines]
    letters = sum(len(line.text) for line, _ in lines)
    if not letters:
        return Witness("none", "the CPU reader found no text")
    confidence = sum(len(line.text) * line.confidence for line, _ in lines) / letters
    if confidence < MIN_CONFIDENCE:
        return Witness("none", f"the CPU reader was not sure of the page ({confidence:.0%})")
    seen = tuple(
        _seen(line.text, _bounds(line.quad_px), region.label)
        for line, region in lines
        if line.confidence >= MIN_LINE_CONFIDENCE
    )
    return Witness("ppocr", f"the CPU reader was sure of the page ({confidence:.0%})", seen)


def _fault_of(words: Sequence[Word]) -> str:
    """Why a layer is no witness; "" for a sound one."""
    text = "".join(word.text for word in words)
    # a Chinese line is one word
    if len(words) < MIN_WORDS and len(text) < 10 * MIN_WORDS:
        return f"the PDF has a text layer of {len(words)} words" if words else "no text layer"
    odd = sum(c == "\ufffd" or unicodedata.category(c) in ("Co", "Cc", "Cn") for c in text)
    if odd > MAX_ODD * len(text):
        return f"{odd} of {len(text)} characters of the text layer have no encoding"
    twice = sum(
        one == other and unicodedata.category(one).startswith("M") for one, other in pairwise(text)
    )
    if twice > MAX_MARKS_TWICE * len(text):
        return f"{twice} vowel signs or accents of the text layer stand twice"
    places = {(word.text, *(side // 4 for side in word.box_px)) for word in words}
    if len(places) < (1 - MAX_DOUBLED) * len(words):
        return f"{len(words) - len(places)} words of the text layer stand twice in one place"
    latin = [c for c in letters_of(text) if "a" <= c <= "z"]
    vowels = sum(c in "aeiouy" for c in latin)
    if len(latin) >= MIN_LATIN and not VOWELS[0] <= vowels / len(latin) <= VOWELS[1]:
        return f"{vowels / len(latin):.0%} of the text layer's letters are vowels: not a language"
    return ""


def _lines(words: Sequence[Word]) -> Iterator[SeenLine]:
    """Words that follow each other on one line; a wide space ends a line, as in a table."""
    line: list[Word] = []
    for word in words:
        if line and not _follows(line[-1], word):
            yield _line(line)
            line = []
        line.append(word)
    if line:
        yield _line(line)


def _follows(word: Word, after: Word) -> bool:
    ax1, ay1, ax2, ay2 = word.box_px
    bx1, by1, bx2, by2 = after.box_px
    if _tall(word) or _tall(after):
        # along the other axis, in either direction
        together = min(ax2, bx2) - max(ax1, bx1)
        height = max(1, min(ax2 - ax1, bx2 - bx1))
        space = max(by1 - ay2, ay1 - by2)
    else:
        together = min(ay2, by2) - max(ay1, by1)
        height = max(1, min(ay2 - ay1, by2 - by1))
        space = bx1 - ax2
    return together > 0.4 * height and -height < space < 1.5 * height


def _tall(word: Word) -> bool:
    x1, y1, x2, y2 = word.box_px
    return len(word.text) > 2 and y2 - y1 > 1.5 * (x2 - x1)


def _line(words: Sequence[Word]) -> SeenLine:
    boxes = [word.box_px for word in words]
    return SeenLine(tuple(words), union(boxes), sideways=any(map(_tall, words)))


def _seen(text: str, box: Box, label: str) -> SeenLine:
    """A recognized line; the boxes of its words are estimated from their places in the text."""
    x1, y1, x2, y2 = box
    sideways = len(text) > 2 and y2 - y1 > 1.5 * (x2 - x1)
    words = []
    at = 0
    for part in text.split():
        start = text.index(part, at)
        at = start + len(part)
        span = (start / len(text), at / len(text))
        if sideways:
            place = (x1, round(y1 + span[0] * (y2 - y1)), x2, round(y1 + span[1] * (y2 - y1)))
        else:
            place = (round(x1 + span[0] * (x2 - x1)), y1, round(x1 + span[1] * (x2 - x1)), y2)
        words.append(Word(part, place))
    role = "furniture" if label in FURNITURE else "figure" if label in FIGURES else "text"
    return SeenLine(tuple(words), box, role, sideways)


def _pieces(word: Word, line: int) -> Iterator[Piece]:
    parts = split_words(word.text)
    x1, y1, x2, y2 = word.box_px
    for index, part in enumerate(parts):
        left, right = (x1 + (x2 - x1) * side // len(parts) for side in (index, index + 1))
        box = (left, y1, right, y2) if len(parts) > 1 else word.box_px
        yield Piece(part, letters_of(part), line, box)


def union(boxes: Sequence[Box]) -> Box:
    """The box around all of them."""
    return (
        min(box[0] for box in boxes),
        min(box[1] for box in boxes),
        max(box[2] for box in boxes),
        max(box[3] for box in boxes),
    )


def _bounds(quad: Iterable[tuple[int, int]]) -> Box:
    return union([(x, y, x, y) for x, y in quad])


def line_height(lines: Sequence[SeenLine]) -> float:
    """Median height in pixels of the page's lines, of those with five words or more if there are
    enough."""
    long = [line.height_px for line in lines if len(line.words) >= 5]
    heights = long if len(long) >= 3 else [line.height_px for line in lines]
    return median(heights) if heights else 0.0
