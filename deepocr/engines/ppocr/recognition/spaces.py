"""Spaces that the recognizer dropped, found again as white gaps in the picture of the line."""

import cv2
import numpy as np
import numpy.typing as npt

from deepocr.engines.ppocr.recognition.ink import ink_of

MIN_GAP = 0.24
"""Of the line's height: narrower gaps stand between letters."""

MIN_LETTERS = 4
"""Shorter texts say too little about how wide their gaps are."""


def recover_spaces(
    crop: npt.NDArray[np.uint8], text: str, char_x: tuple[float, ...]
) -> tuple[str, tuple[float, ...]]:
    """Text with missing spaces, and the places of its characters as fractions of the width.

    A gap counts as a space when it is about as wide as the gaps that were read as spaces. Only
    between letters: digits and marks are often set wide, and Chinese has no spaces.
    """
    height, width = crop.shape[:2]
    if len(text) < MIN_LETTERS or width < height or not any(map(_latin, text)):
        return text, char_x
    gaps = _white_gaps(crop)
    known_px: list[float] = []
    letters_px: list[float] = []
    missing: list[tuple[int, float]] = []
    for start, end in gaps:
        center = (start + end) / 2 / width
        # the first character to the right of the gap
        after = int(np.searchsorted(char_x, center))
        if not 0 < after < len(text):
            continue
        # places are a little off, so a space one further on is this gap's
        if " " in text[max(0, after - 2) : after + 2]:
            known_px.append(end - start)
            continue
        letters_px.append(end - start)
        if _splits(text, after):
            missing.append((after, end - start))
    if len(known_px) < 2:
        return text, char_x
    letters = 1.8 * float(np.median(letters_px)) if letters_px else 0.0
    least_px = max(MIN_GAP * height, 0.75 * float(np.median(known_px)), letters)
    for after, gap_px in reversed(missing):
        if gap_px >= least_px:
            place = (char_x[after - 1] + char_x[after]) / 2
            text = f"{text[:after]} {text[after:]}"
            char_x = (*char_x[:after], place, *char_x[after:])
    return text, char_x


def _splits(text: str, after: int) -> bool:
    left, right = text[after - 1], text[after]
    return (_latin(left) or left in ",.;:)") and (_latin(right) or right == "(")


def _latin(character: str) -> bool:
    return character.isalpha() and ord(character) < 0x250


def _white_gaps(crop: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Runs of columns without ink between two with ink, as (first, one past the last)."""
    gray = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    ink = ink_of(gray)
    # the edge rows hold pieces of the lines above and below
    margin = max(1, round(0.12 * ink.shape[0]))
    blank = (ink[margin:-margin].sum(axis=0) == 0).astype(np.int8)
    edges = np.diff(np.concatenate([[0], blank, [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    # the white before the first letter and behind the last is no gap
    width = len(blank)
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True) if a > 0 and b < width]
