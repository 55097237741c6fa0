"""Digits that stand raised, such as the numbers of notes and exponents, told from the picture.

They become the raised digits of Unicode, as the recognizer itself writes some of them. A tag in the
middle of a word would keep the word from being found.
"""

import re

import cv2
import numpy as np
import numpy.typing as npt

from deepocr.engines.ppocr.recognition.ink import ink_of

DIGITS = "0123456789"
RAISED = str.maketrans(DIGITS, "⁰¹²³⁴⁵⁶⁷⁸⁹")

_MAY_BE = re.compile(r"(?<=[^\s(\[{+=<>~/-])\d|^\d(?=\d?[^\W\d_])")
"""A digit right behind something, or one that begins a line and has a letter behind it."""

MIN_LIFT = 0.28
"""Of the height of capitals: the least a raised digit ends above the line."""

MIN_HEIGHT, MAX_HEIGHT = 0.35, 0.85
"""Of the height of capitals: what is lower is a speck, what is higher no raised digit."""

MIN_LETTERS, NEAR = 3, 8
"""Fewer letters do not tell where the line is; more are too far away."""


def mark_raised(crop: npt.NDArray[np.uint8], text: str, char_x: tuple[float, ...]) -> str:
    """The text, as long as it was, with raised digits; `char_x` are fractions of the width."""
    candidates = [match.start() for match in _MAY_BE.finditer(text)]
    if not candidates or len(char_x) != len(text):
        return text
    boxes = _ink_boxes(crop)
    if not len(boxes):
        return text
    centers = np.array(char_x) * crop.shape[1]
    letters = {
        float(x): box
        for character, x in zip(text, centers, strict=True)
        if character.isalpha() and character not in "gjpqyQJ"
        for box in [_box_at(boxes, x)]
        if box is not None
    }
    if len(letters) < MIN_LETTERS:
        return text
    tops, bottoms = zip(*((box[1], box[3]) for box in letters.values()), strict=True)
    capital = float(np.median(bottoms) - np.percentile(tops, 15))
    characters = list(text)
    for index in candidates:
        box = _box_at(boxes, centers[index])
        # of those around it, as lines bend on a page that does
        near = sorted(letters, key=lambda x: abs(x - centers[index]))[:NEAR]
        baseline = float(np.median([letters[x][3] for x in near]))
        follows = index > 0 and characters[index - 1] in DIGITS
        if follows and (before := _box_at(boxes, centers[index - 1])):
            # an exponent stands above the number that it belongs to
            baseline = min(baseline, before[3])
        if box is None or box[2] - box[0] > capital:
            continue
        _, top, _, bottom = box
        lifted = baseline - bottom > MIN_LIFT * capital
        if lifted and MIN_HEIGHT * capital < bottom - top < MAX_HEIGHT * capital:
            characters[index] = text[index].translate(RAISED)
    return "".join(characters)


def _ink_boxes(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Left, top, right and bottom of what hangs together."""
    gray = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    ink = ink_of(gray)
    _, _, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    found: npt.NDArray[np.int32] = stats[1:][stats[1:, 4] > 4][:, :4].astype(np.int32)
    found[:, 2:] += found[:, :2]
    return found


def _box_at(boxes: npt.NDArray[np.int32], x: float) -> tuple[int, int, int, int] | None:
    """The highest of the boxes at `x`, or the nearest, with what stands above and below it."""
    away = np.maximum(boxes[:, 0] - x, x - boxes[:, 2]).clip(0, None)
    heights = boxes[:, 3] - boxes[:, 1]
    near = np.flatnonzero(away <= max(1.0, away.min()))
    if away.min() > 0.5 * heights.max():
        return None
    left, _, right, _ = boxes[near[heights[near].argmax()]]
    # blurred digits fall to pieces
    common = np.minimum(boxes[:, 2], right) - np.maximum(boxes[:, 0], left)
    narrow = np.minimum(boxes[:, 2] - boxes[:, 0], right - left)
    whole = boxes[common > 0.5 * narrow]
    return int(left), int(whole[:, 1].min()), int(right), int(whole[:, 3].max())
