"""Lines of text, and the threads that find and read them."""

import re
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import cv2
import numpy as np

from deepocr.engines.ppocr.recognition.crew import Crew
from deepocr.engines.ppocr.recognition.models import (
    TALL,
    Detector,
    Picture,
    Points,
    Recognized,
    Recognizer,
    crop_lines,
)
from deepocr.engines.ppocr.recognition.raised import mark_raised
from deepocr.engines.ppocr.recognition.spaces import recover_spaces
from deepocr.types import Box, Line, Quad

MIN_SCORE = 0.5
"""A line the recognizer is less sure of is noise: a logo, a stain, a piece of a picture."""


@dataclass(frozen=True)
class TextLine:
    """A recognized line.

    `box_px` is in the straightened page that the layout is worked out on, `quad_px` on the page as
    it came. `text` has no space at its ends. `char_x_px` has the center of each of its characters,
    straightened too; it is empty for a line that does not run from left to right.
    """

    text: str
    box_px: Box
    quad_px: Quad
    confidence: float
    char_x_px: tuple[float, ...] = ()

    @property
    def height_px(self) -> int:
        return self.box_px[3] - self.box_px[1]

    @property
    def width_px(self) -> int:
        return self.box_px[2] - self.box_px[0]

    @property
    def center_px(self) -> tuple[float, float]:
        x1, y1, x2, y2 = self.box_px
        return (x1 + x2) / 2, (y1 + y2) / 2

    @property
    def vertical(self) -> bool:
        """Runs downward or upward."""
        return self.height_px > TALL * self.width_px and len(self.text) > 1

    def as_line(self) -> Line:
        """The engine-neutral form."""
        return Line(self.text, self.quad_px, self.confidence, self._word_spans())

    def _word_spans(self) -> tuple[tuple[float, float], ...]:
        """Words reach half a letter beyond the centers of their first and last ones, the line's own
        ends aside."""
        x, text = self.char_x_px, self.text
        words = [match.span() for match in re.finditer(r"\S+", text)]
        if len(x) != len(text) or self.width_px < 1 or not words:
            return ()
        letter_px = self.width_px / len(text)
        spans = []
        for start, end in words:
            half_px = (
                (x[end - 1] - x[start]) / (end - start - 1) if end - start > 1 else letter_px
            ) / 2
            left = x[start] - half_px if start else self.box_px[0]
            right = x[end - 1] + half_px if end < len(text) else self.box_px[2]
            spans.append((self._share(left), self._share(right)))
        return tuple(spans)

    def _share(self, x_px: float) -> float:
        return round(min(max((x_px - self.box_px[0]) / self.width_px, 0.0), 1.0), 4)


class StoppedError(Exception):
    """Nobody waits for the page any more."""


class Stop:
    """A flag that the reader of a page looks at between two lines.

    `turn` is the page's place among all pages: those that came first are worked on first.
    """

    def __init__(self, turn: int = 0) -> None:
        self.turn = turn
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def check(self) -> None:
        """Raises StoppedError once the flag is set."""
        if self._event.is_set():
            raise StoppedError


class LineReader:
    """Finds lines and reads them; one serves many pages at once.

    Lines are recognized one by one, each in a session of one thread, `threads` of them side by
    side: no padding to a common width, and no two thread pools fighting for the cores. Only
    detection, which is a single large picture, uses all threads when one page is alone.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.crew = Crew(threads)
        wide = self.crew.submit(0, Detector, threads)
        narrow = wide if threads == 1 else self.crew.submit(0, Detector, 1)
        self._recognizer = Recognizer()
        self._wide, self._narrow = wide.result(), narrow.result()

    def close(self) -> None:
        """Drop what waits; what runs ends by itself within a line."""
        self.crew.close()

    def detect(self, picture: Picture, stop: Stop, alone: bool) -> Points:
        """Corners of the lines, in no particular order."""
        detector = self._wide if alone else self._narrow
        return self.crew.submit(stop.turn, detector, picture).result()

    def crop(self, picture: Picture, points: Points) -> list[Picture]:
        """The lines, each turned level; what is TALL is laid down counterclockwise."""
        return crop_lines(picture, points)

    def recognize(self, crops: Sequence[Picture], stop: Stop) -> list[Recognized]:
        """Text of the crops, in their order. Raises StoppedError."""

        def read(crop: Picture) -> Recognized:
            stop.check()
            return self._recognize_one(crop)

        # longest first, so that no thread ends on a long line while the others have nothing
        order = sorted(range(len(crops)), key=lambda i: -crops[i].shape[1] / crops[i].shape[0])
        waiting: dict[int, Future[Recognized]] = {
            index: self.crew.submit(stop.turn, read, crops[index]) for index in order
        }
        try:
            return [waiting[index].result() for index in range(len(crops))]
        finally:
            for future in waiting.values():
                future.cancel()

    def _recognize_one(self, crop: Picture) -> Recognized:
        seen = self._recognizer(crop)
        if not seen.text.strip():
            return Recognized("", 0.0, ())
        text, char_x = recover_spaces(crop, seen.text, seen.char_x)
        return replace(seen, text=mark_raised(crop, text, char_x), char_x=char_x)


def level_boxes(points: Points) -> list[Box]:
    """The upright rectangles of lines that are level up to a small angle.

    Not the bounds of the corners: those of a long line that leans a little would touch the lines
    above and below.
    """
    boxes: list[Box] = []
    for quad in points:
        center_x, center_y = quad.mean(axis=0)
        top, right, bottom, left = np.roll(quad, -1, axis=0) - quad
        width = float(np.linalg.norm(top) + np.linalg.norm(bottom)) / 2
        height = float(np.linalg.norm(right) + np.linalg.norm(left)) / 2
        boxes.append(
            (
                round(center_x - width / 2),
                round(center_y - height / 2),
                round(center_x + width / 2),
                round(center_y + height / 2),
            )
        )
    return boxes


def turn_over(crop: Picture) -> Picture:
    """The crop upside down."""
    turned: Picture = cv2.rotate(crop, cv2.ROTATE_180)
    return turned
