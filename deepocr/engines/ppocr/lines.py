"""Lines of text, and the models that find and read them."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deepocr.engines.ppocr.spaces import recover_spaces
from deepocr.types import Box, Line, Quad

Picture = npt.NDArray[np.uint8]
"""Pixels (height, width, 3), BGR as the models expect them."""

Points = npt.NDArray[np.float32]
"""Corners of lines (lines, 4, 2): x, y, clockwise from the start of the line's top."""

MIN_SCORE = 0.5
"""A line the recognizer is less sure of is noise: a logo, a stain, a piece of a picture."""

MAX_DETECT_PX = 4096
"""More than any tile's side."""

TALL = 1.5
"""A crop this much taller than wide is taken for a line that runs downward."""


@dataclass(frozen=True)
class TextLine:
    """A recognized line.

    `box_px` is in the straightened page that the layout is worked out on, `quad_px` on the page as
    it came. `char_x_px` has the center of each character of `text`, straightened too; it is empty
    for a line that does not run from left to right.
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
        return Line(self.text, self.quad_px, self.confidence)


@dataclass(frozen=True)
class Recognized:
    """Text of one crop; `char_x` are centers as fractions of the crop's width."""

    text: str
    score: float
    char_x: tuple[float, ...]


class StoppedError(Exception):
    """Nobody waits for the page any more."""


class Stop:
    """A flag that the reader of a page looks at between two lines."""

    def __init__(self) -> None:
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
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="ppocr")
        # one after the other in importing, side by side in loading
        wide = self.pool.submit(_load_detector, threads)
        narrow = wide if threads == 1 else self.pool.submit(_load_detector, 1)
        self._recognizer = _load_recognizer()
        self._wide, self._narrow = wide.result(), narrow.result()

    def close(self) -> None:
        """Drop what waits; what runs ends by itself within a line."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    def detect(self, picture: Picture, alone: bool) -> Points:
        """Corners of the lines, in no particular order."""
        models = self._wide if alone else self._narrow
        found = self.pool.submit(models.text_det, picture).result()
        if found.boxes is None or len(found.boxes) == 0:
            return np.zeros((0, 4, 2), np.float32)
        return np.asarray(found.boxes, np.float32)

    def crop(self, picture: Picture, points: Points) -> list[Picture]:
        """The lines, each turned level; what is TALL is laid down counterclockwise."""
        crops: list[Picture] = self._narrow.crop_text_regions(picture, points)
        return crops

    def recognize(self, crops: Sequence[Picture], stop: Stop) -> list[Recognized]:
        """Text of the crops, in their order. Raises StoppedError."""

        def read(crop: Picture) -> Recognized:
            stop.check()
            return self._recognize_one(crop)

        # longest first, so that no thread ends on a long line while the others have nothing
        order = sorted(range(len(crops)), key=lambda i: -crops[i].shape[1] / crops[i].shape[0])
        waiting: dict[int, Future[Recognized]] = {
            index: self.pool.submit(read, crops[index]) for index in order
        }
        try:
            return [waiting[index].result() for index in range(len(crops))]
        finally:
            for future in waiting.values():
                future.cancel()

    def _recognize_one(self, crop: Picture) -> Recognized:
        result = self._recognizer.recognize_txt([crop])
        text, score = result.txts[0], float(result.scores[0])
        if not text.strip():
            return Recognized("", 0.0, ())
        info = result.word_results[0]
        columns = [column for word in info.word_cols for column in word]
        char_x = _spread(text, columns, info.line_txt_len)
        text, char_x = recover_spaces(crop, text, char_x)
        return Recognized(text, score, char_x)


def _spread(text: str, columns: Sequence[int], num_columns: float) -> tuple[float, ...]:
    """Centers of all characters as fractions of the width; a space lies between its neighbors."""
    places: list[float] = []
    rest = iter(columns)
    for character in text:
        last = places[-1] if places else 0.0
        places.append(last if character.isspace() else (next(rest) + 0.5) / num_columns)
    for index, character in enumerate(text):
        if character.isspace() and index + 1 < len(text):
            places[index] = (places[index] + places[index + 1]) / 2
    return tuple(places)


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


def _load_detector(threads: int) -> Any:
    models = _models(threads)
    # the library loads at first use; done here so that no page pays for it
    models.text_det = models._load_det_model()
    return models


def _load_recognizer() -> Any:
    models = _models(1)
    models.text_rec = models._load_rec_model()
    return models


def _models(threads: int) -> Any:
    """rapidocr with the models of its wheel: Chinese, English and other Latin scripts."""
    from rapidocr import RapidOCR

    return RapidOCR(
        params={
            "Global.log_level": "error",
            # its classifier turns some upright lines over; pages are turned as a whole instead
            "Global.use_cls": False,
            "Global.return_word_box": True,
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            # pictures come in the scale that they are to be looked at in
            "Det.limit_type": "max",
            "Det.limit_side_len": MAX_DETECT_PX,
            # the least width a line is padded to: none, it costs time and words
            "Rec.rec_img_shape": [3, 48, 48],
            "Rec.rec_batch_num": 1,
        }
    )
