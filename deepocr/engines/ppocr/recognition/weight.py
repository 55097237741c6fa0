"""How bold a line is: the width of its strokes, from the picture."""

import cv2
import numpy as np

from deepocr.engines.ppocr.recognition.ink import ink_of
from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.recognition.models import Picture

ENLARGE = 2
"""Strokes of small print are hardly two pixels wide."""


class Weigher:
    """Stroke widths of the lines of one page, each measured when it is first asked for."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._known: dict[int, float] = {}

    def __call__(self, line: TextLine) -> float:
        """Ink over its outline, which grows with the width of the strokes; 0 where nothing is."""
        if id(line) not in self._known:
            x1, y1, x2, y2 = (max(0, value) for value in line.box_px)
            self._known[id(line)] = _stroke(self._picture[y1:y2, x1:x2])
        return self._known[id(line)]


def _stroke(part: Picture) -> float:
    if part.size == 0:
        return 0.0
    gray = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY)
    gray = cv2.resize(gray, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
    ink = ink_of(gray)
    area = int(ink.sum())
    outline = area - int(cv2.erode(ink, np.ones((3, 3), np.uint8)).sum())
    return area / outline if outline else 0.0
