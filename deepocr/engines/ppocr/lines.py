"""Lines of text as the recognizer saw them, and the models that see them."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepocr.types import Box, Line, Quad

Picture = npt.NDArray[np.uint8]
"""Pixels (height, width, 3), BGR as the models expect them."""

MIN_SCORE = 0.5
"""A line the recognizer is less sure of is noise: a logo, a stain, a piece of a picture."""


@dataclass(frozen=True)
class TextLine:
    """A recognized line. `char_x_px` has the center of each character of `text`."""

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

    def as_line(self) -> Line:
        """The engine-neutral form."""
        return Line(self.text, self.quad_px, self.confidence)


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
        self._wide = _load_models(threads)
        self._narrow = _load_models(1)
        # lazy loading inside the library, done here so that the first page does not pay
        self._wide.text_det = self._wide._load_det_model()
        self._narrow.text_det = self._narrow._load_det_model()
        self._narrow.text_rec = self._narrow._load_rec_model()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ppocr")

    def close(self) -> None:
        """Drop what waits; what runs ends by itself within a line."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def detect(self, picture: Picture, alone: bool) -> tuple[list[Picture], list[Quad]]:
        """Upright crops of the lines and their quads, in no particular order."""
        models = self._wide if alone else self._narrow
        found = self._pool.submit(models.text_det, picture).result()
        if found.boxes is None or len(found.boxes) == 0:
            return [], []
        crops = models.crop_text_regions(picture, found.boxes)
        return crops, [_quad(box) for box in found.boxes]

    def recognize(
        self, crops: Sequence[Picture], quads: Sequence[Quad], stop: Stop
    ) -> list[TextLine]:
        """Text of the crops; those that are no text are left out. Raises StoppedError."""

        def read(index: int) -> TextLine | None:
            stop.check()
            return self._recognize_one(crops[index], quads[index])

        # longest first, so that no thread ends on a long line while the others have nothing
        order = sorted(range(len(crops)), key=lambda i: -crops[i].shape[1] / crops[i].shape[0])
        waiting: dict[int, Future[TextLine | None]] = {
            index: self._pool.submit(read, index) for index in order
        }
        try:
            lines = [waiting[index].result() for index in range(len(crops))]
        finally:
            for future in waiting.values():
                future.cancel()
        return [line for line in lines if line is not None]

    def _recognize_one(self, crop: Picture, quad: Quad) -> TextLine | None:
        result = self._narrow.recognize_txt([crop])
        text, score = result.txts[0], float(result.scores[0])
        if not text.strip() or score < MIN_SCORE:
            return None
        return TextLine(
            text=text.strip(),
            box_px=_bounds(quad),
            quad_px=quad,
            confidence=score,
        )


def _load_models(threads: int) -> Any:
    """rapidocr with the models of its wheel: Chinese, English and Latin scripts."""
    from rapidocr import RapidOCR

    return RapidOCR(
        params={
            "Global.log_level": "error",
            "Global.use_cls": False,
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            # the least width a line is padded to: none, it costs time and words
            "Rec.rec_img_shape": [3, 48, 48],
            "Rec.rec_batch_num": 1,
        }
    )


def _quad(points: npt.NDArray[np.float32]) -> Quad:
    corners = [(round(float(x)), round(float(y))) for x, y in points]
    return (corners[0], corners[1], corners[2], corners[3])


def _bounds(quad: Quad) -> Box:
    xs = [x for x, _ in quad]
    ys = [y for _, y in quad]
    return (min(xs), min(ys), max(xs), max(ys))
