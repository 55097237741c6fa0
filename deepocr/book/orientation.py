"""The orientation of a page, detected from the shape of its lines.

Lines of text leave white gaps across the reading direction, so ink summed along lines varies much
more than ink summed across them: that tells upright from sideways. In Latin, Greek and Cyrillic
script more ink rises above the small letters than hangs below them: that tells up from down.
Scripts without that difference are left as they lie, unless the PDF's own words say more.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image

from deepocr.types import Box, Word

STRIPS = 5
"""Number of vertical strips, examined one by one: lines in different columns rarely align."""

SIDEWAYS_RATIO = 1.6
"""How much more the ink must vary along the page than down it. Text pages show 1.8 to 11."""

MIN_ENERGY = 0.04
"""Variation of ink below which a page has no recognizable lines."""

UPSIDE_DOWN = 0.15
"""A page is upside down if its balance of ascenders and descenders, -1 to 1, is below the negative
of this. Upright text shows 0.2 to 0.7."""

CORE = 0.4
"""Rows of a line with at least this share of its fullest row's ink are the body of its letters."""

MIN_RISERS = 3.0
"""Least ink above and below the small letters, in rows of full ink, to tell up from down."""

GRID = 12
LEAST_COVER = 0.25
"""Share of the cells of a grid over the page that must hold ink: on a title page, letters make as
much of a pattern as lines do."""

MAX_ASPECT = 3.0
"""Ratio of sides above which a page, such as a receipt or a whole web page, is not judged: its
strips are too thin to show lines."""

LINE_HEIGHT_PX = range(6, 41)
"""Height in pixels of a line of text in the small copy that `ink.ink_mask` makes."""


@dataclass(frozen=True)
class Look:
    """What a page looks like. `turns` are the degrees clockwise that may make it upright, the most
    likely first; (0,) if it looks upright. `has_lines` is whether it looks like text at all."""

    turns: tuple[int, ...]
    has_lines: bool


def look_at(mask: Image.Image, words: Sequence[Word] = ()) -> Look:
    """The look of the page with this ink; `words` are those of the PDF's own text layer."""
    down, along = _line_energy(mask), _line_energy(mask.transpose(Image.Transpose.ROTATE_90))
    has_lines = max(down, along) > MIN_ENERGY
    lying = _words_lie(words)
    sideways = has_lines and along > SIDEWAYS_RATIO * down if lying is None else lying
    if lying is None and not _is_judged(mask):
        return Look((0,), has_lines)
    if sideways:
        rise = _rise(mask.transpose(Image.Transpose.ROTATE_270))
        return Look((270, 90) if rise < 0 else (90, 270), has_lines)
    if has_lines and _rise(mask) < -UPSIDE_DOWN:
        return Look((180,), has_lines)
    return Look((0,), has_lines)


def _is_judged(mask: Image.Image) -> bool:
    """Whether there is enough on the page to tell how it lies."""
    cells = mask.resize((GRID, GRID), Image.Resampling.BOX).histogram()
    # a cell counts if its value is at least 2 of 255, about one percent of ink
    cover = sum(cells[2:]) / GRID**2
    return cover >= LEAST_COVER and max(mask.size) <= MAX_ASPECT * min(mask.size)


def _line_energy(mask: Image.Image) -> float:
    """How sharply the ink changes from row to row, relative to all ink: high for lines of text."""
    change = ink = 0.0
    for profile in _profiles(mask):
        # a ruled line is full of ink; it must not outweigh the text around it
        rows = [min(row, 0.5) for row in profile]
        change += sum((after - before) ** 2 for before, after in pairwise(rows))
        ink += sum(rows)
    return change / ink if ink else 0.0


def _rise(mask: Image.Image) -> float:
    """The balance of ink above and below the small letters, -1 to 1 (above); 0 if unclear."""
    above = below = 0.0
    for profile in _profiles(mask):
        for band in _bands(profile):
            most = max(band)
            if not 0.06 <= most <= 0.8:
                continue
            core = [row for row, ink in enumerate(band) if ink >= CORE * most]
            above += sum(band[: core[0]])
            below += sum(band[core[-1] + 1 :])
    total = above + below
    return (above - below) / total if total >= MIN_RISERS else 0.0


def _profiles(mask: Image.Image) -> list[list[float]]:
    """The share of ink in each row, 0 to 1, strip by strip."""
    width = max(1, mask.width // STRIPS)
    strips = [mask.crop((x, 0, x + width, mask.height)) for x in range(0, width * STRIPS, width)]
    # mode F: in bytes a row with a single letter would round to no ink at all
    rows = [strip.convert("F").resize((1, strip.height), Image.Resampling.BOX) for strip in strips]
    return [[value / 255 for value in _floats(row)] for row in rows]


def _floats(image: Image.Image) -> list[float]:
    return array("f", image.tobytes()).tolist()


def _bands(profile: Sequence[float]) -> list[Sequence[float]]:
    """Runs of rows with ink that are as high as a line of text."""
    bands = []
    start = None
    for row, ink in enumerate((*profile, 0.0)):
        if ink > 0.004:
            start = row if start is None else start
        elif start is not None:
            if row - start in LINE_HEIGHT_PX:
                bands.append(profile[start:row])
            start = None
    return bands


def _words_lie(words: Sequence[Word]) -> bool | None:
    """Whether the PDF's own words run vertically; None if they are too few or disagree."""
    long_words = [word for word in words if len(word.text) >= 4]
    if len(long_words) < 10:
        return None
    tall = sum(_is_tall(word.box_px) for word in long_words)
    share = tall / len(long_words)
    return True if share > 0.8 else False if share < 0.2 else None


def _is_tall(box: Box) -> bool:
    return box[3] - box[1] > box[2] - box[0]
