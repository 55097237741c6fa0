"""A PDF's own text layer in place of recognition, where it is sound.

Layers lie: fonts without an encoding give other letters than they show, earlier OCR left hidden
text in the wrong place, a scan has a layer of another page. So a sample of the lines is recognized
and compared, and lines for which the layer has no text, or an unlikely amount, are recognized too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz

from deepocr.engines.ppocr.recognition.models import Recognized
from deepocr.types import Box, Word

SAMPLE = 10
"""Lines that are recognized to judge a layer by."""

MIN_MEAN = 95.0
MIN_LINE = 60.0
"""Likeness of layer and recognition, of 100: of the sample on average, and of each line but one."""

MIN_PLACED = 0.9
"""Share of the layer's letters that must stand where lines were found."""

MIN_COVERED = 0.6
"""Share of a line's width that its words must cover."""


@dataclass(frozen=True)
class LayerLine:
    """The layer's text for a found line, as a recognizer would have given it."""

    recognized: Recognized
    covered: float


def layer_lines(boxes: Sequence[Box], words: Sequence[Word]) -> tuple[list[LayerLine], float]:
    """For each box its words in order, and the share of all letters that fell into a box."""
    inside: list[list[Word]] = [[] for _ in boxes]
    placed = total = 0
    for word in words:
        total += len(word.text)
        x = (word.box_px[0] + word.box_px[2]) / 2
        y = (word.box_px[1] + word.box_px[3]) / 2
        for index, (x1, y1, x2, y2) in enumerate(boxes):
            if x1 <= x <= x2 and y1 <= y <= y2:
                inside[index].append(word)
                placed += len(word.text)
                break
    lines = [_line(box, found) for box, found in zip(boxes, inside, strict=True)]
    return lines, placed / total if total else 0.0


def _line(box: Box, words: Sequence[Word]) -> LayerLine:
    width = max(1, box[2] - box[0])
    text = ""
    places: list[float] = []
    covered = 0
    for word in sorted(words, key=lambda word: word.box_px[0]):
        left, right = word.box_px[0] - box[0], word.box_px[2] - box[0]
        if text:
            text += " "
            places.append(left / width)
        step = (right - left) / max(1, len(word.text))
        places += [(left + (number + 0.5) * step) / width for number in range(len(word.text))]
        text += word.text
        covered += max(0, right - left)
    return LayerLine(Recognized(text, 1.0, tuple(places)), min(1.0, covered / width))


def sample_of(lines: Sequence[LayerLine]) -> list[int]:
    """Indices of lines spread over the page, among those that the layer has text for."""
    with_text = [index for index, line in enumerate(lines) if len(line.recognized.text) >= 4]
    step = max(1, len(with_text) // SAMPLE)
    return with_text[::step][:SAMPLE]


def is_sound(layer: Sequence[str], recognized: Sequence[str], placed: float) -> bool:
    """Does the layer say what the page shows?"""
    if len(layer) < 3 or placed < MIN_PLACED:
        return False
    scores = sorted(
        fuzz.ratio(_letters(one), _letters(other))
        for one, other in zip(layer, recognized, strict=True)
    )
    # one line may be a logo that the recognizer cannot read
    return sum(scores) / len(scores) >= MIN_MEAN and scores[1] >= MIN_LINE


def usable(line: LayerLine) -> bool:
    """Has the layer a likely text for this line?"""
    return bool(line.recognized.text) and line.covered >= MIN_COVERED


def _letters(text: str) -> str:
    return "".join(text.casefold().split())
