"""PP-OCR's two networks on onnxruntime: one finds lines in a picture, one reads a line.

The model files and what surrounds them (scales, thresholds, the growing of boxes) are rapidocr's;
a test holds both against it. Its classes are not used: importing them takes a second, most of it
for lists of models that could be downloaded, and they prepare pictures in double precision.
"""

import functools
import importlib.util
import itertools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from deepocr.errors import EngineUnavailable

Picture = npt.NDArray[np.uint8]
"""Pixels (height, width, 3), BGR as the models expect them."""

Points = npt.NDArray[np.float32]
"""Corners of lines (lines, 4, 2): x, y, clockwise from the start of the line's top."""

DETECTOR_FILE = "PP-OCRv6_det_small.onnx"
RECOGNIZER_FILE = "PP-OCRv6_rec_small.onnx"

STEP_PX = 32
"""The detector takes sides that are a multiple of this."""

MAX_DETECT_PX = 4096

KEPT_PIXELS = 1920 * 1920
"""The detector keeps the memory that a picture takes, for the next one, unless it is larger."""

INK = 0.3
"""Of the detector's map: what counts as part of a line."""

MIN_BOX_SCORE = 0.5
MIN_SIDE = 3
GROW = 1.6
"""Boxes are grown by this times their area over their perimeter: the map shows lines' cores."""

MAX_LINES = 3000

LINE_PX = 48
"""Height of the lines that the recognizer takes."""


def model_file(name: str) -> Path:
    """A model in rapidocr's wheel. Raises EngineUnavailable."""
    found = importlib.util.find_spec("rapidocr")
    folders = found.submodule_search_locations if found else None
    for folder in folders or ():
        path = Path(folder) / "models" / name
        if path.is_file():
            return path
    raise EngineUnavailable(
        f"the model {name} is missing; install it with: pip install 'rapidocr>=3.10,<3.11'"
    )


def session(file: Path, threads: int, keep_memory: bool) -> onnxruntime.InferenceSession:
    """A network, ready. Raises EngineUnavailable."""
    if not file.is_file():
        raise EngineUnavailable(f"the model {file.name} is missing; install deepocr[ppocr] again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = keep_memory
    if keep_memory:
        _share_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
    # a plan of the memory for each size of picture would double what is kept
    options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


@functools.cache
def _share_memory() -> None:
    """What is kept serves all sessions that keep memory; each by itself would keep its own."""
    onnxruntime.create_and_register_allocator(
        onnxruntime.OrtMemoryInfo(
            "Cpu",
            onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
            0,
            onnxruntime.OrtMemType.DEFAULT,
        ),
        None,
    )


def _pixels(picture: Picture) -> npt.NDArray[np.float32]:
    """(height, width, 3) of 0 to 255 -> (1, 3, height, width) of -1 to 1."""
    pixels: npt.NDArray[np.float32] = cv2.dnn.blobFromImage(
        picture, scalefactor=1 / 127.5, mean=(127.5, 127.5, 127.5)
    )
    return pixels


class Detector:
    """Finds lines of any direction; calls may come from several threads at once."""

    def __init__(self, threads: int) -> None:
        # memory that is new to the process takes as long to get as the network to run
        self._session = session(model_file(DETECTOR_FILE), threads, keep_memory=True)
        self._input = self._session.get_inputs()[0].name
        self._give_back = onnxruntime.RunOptions()
        self._give_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def __call__(self, picture: Picture) -> Points:
        """Corners in the picture's pixels, in no particular order."""
        height, width = picture.shape[:2]
        shrink = min(1.0, MAX_DETECT_PX / max(height, width))
        wanted = tuple(
            max(STEP_PX, round(side * shrink / STEP_PX) * STEP_PX) for side in (width, height)
        )
        shown = cv2.resize(picture, wanted)
        after = self._give_back if wanted[0] * wanted[1] > KEPT_PIXELS else None
        output = self._session.run(None, {self._input: _pixels(shown)}, after)
        likely: npt.NDArray[np.float32] = np.asarray(output[0])[0, 0]
        mask = cv2.dilate((likely > INK).astype(np.uint8), np.ones((2, 2), np.uint8))
        contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        scale = np.array([width / likely.shape[1], height / likely.shape[0]], np.float32)
        most = np.array([width - 1, height - 1], np.float32)
        found = []
        for contour in contours[:MAX_LINES]:
            corners = _grown_box(likely, contour)
            if corners is not None:
                corners = _clockwise((corners * scale).round().clip(0, most))
                sides = np.linalg.norm(corners[[0, 0]] - corners[[1, 3]], axis=1)
                if sides.min() > MIN_SIDE:
                    found.append(corners)
        return np.array(found, np.float32).reshape(-1, 4, 2)


def _grown_box(likely: npt.NDArray[np.float32], contour: npt.NDArray[np.int32]) -> Points | None:
    """Corners (4, 2) of the line that shows as this contour, or None for a speck."""
    center, (across, down), angle = cv2.minAreaRect(contour)
    if min(across, down) < MIN_SIDE:
        return None
    corners: Points = cv2.boxPoints((center, (across, down), angle))
    if _mean_inside(likely, corners) < MIN_BOX_SCORE:
        return None
    grow = 2 * across * down * GROW / (2 * (across + down))
    grown: Points = cv2.boxPoints((center, (across + grow, down + grow), angle))
    return grown


def _mean_inside(likely: npt.NDArray[np.float32], corners: Points) -> float:
    """Mean of the map inside a box."""
    height, width = likely.shape
    low = np.floor(corners.min(axis=0)).astype(int).clip(0, (width - 1, height - 1))
    high = np.ceil(corners.max(axis=0)).astype(int).clip(0, (width - 1, height - 1))
    mask = np.zeros((high[1] - low[1] + 1, high[0] - low[0] + 1), np.uint8)
    cv2.fillPoly(mask, [(corners - low).astype(np.int32)], (1,))
    part = likely[low[1] : high[1] + 1, low[0] : high[0] + 1]
    return float(cv2.mean(part, mask)[0])


def _clockwise(corners: Points) -> Points:
    """Top left, top right, bottom right, bottom left."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    top_left, bottom_left = by_x[:2][np.argsort(by_x[:2, 1], kind="stable")]
    top_right, bottom_right = by_x[2:][np.argsort(by_x[2:, 1], kind="stable")]
    return np.array([top_left, top_right, bottom_right, bottom_left], np.float32)


@dataclass(frozen=True)
class Recognized:
    """Text of one crop; `char_x` are centers as fractions of the crop's width."""

    text: str
    score: float
    char_x: tuple[float, ...]

    def stripped(self) -> "Recognized":
        """Without spaces at the ends and their places: whoever looks at a space of a line looks
        at the characters beside it."""
        text = self.text.strip()
        start = len(self.text) - len(self.text.lstrip())
        return Recognized(text, self.score, self.char_x[start : start + len(text)])


class Recognizer:
    """Reads one level line in a session of one thread; calls may come from several threads."""

    def __init__(self) -> None:
        # lines are of every width, and the memory for the widest would be kept for ever
        self._session = session(model_file(RECOGNIZER_FILE), 1, keep_memory=False)
        self._input = self._session.get_inputs()[0].name
        characters = self._session.get_modelmeta().custom_metadata_map["character"]
        # the first place of the network's output is for no character
        self._characters = ["", *characters.splitlines(), " "]

    def __call__(self, crop: Picture) -> Recognized:
        """The text with its places, and the mean probability of its characters."""
        height, width = crop.shape[:2]
        wanted = max(LINE_PX, int(LINE_PX * width / height))
        shown = min(wanted, int(np.ceil(LINE_PX * width / height)))
        pixels = np.zeros((1, 3, LINE_PX, wanted), np.float32)
        pixels[:, :, :, :shown] = _pixels(cv2.resize(crop, (shown, LINE_PX)))
        output = self._session.run(None, {self._input: pixels})
        # (columns, characters)
        likely: npt.NDArray[np.float32] = np.asarray(output[0])[0]
        best = likely.argmax(axis=1)
        kept = np.flatnonzero((best != 0) & (np.diff(best, prepend=-1) != 0))
        if not len(kept):
            return Recognized("", 0.0, ())
        text = "".join(self._characters[index] for index in best[kept])
        score = float(likely[kept, best[kept]].mean())
        columns = len(best) * shown / wanted
        return Recognized(text, score, _places(text, (kept + 0.5) / columns))


def _places(text: str, centers: npt.NDArray[np.floating]) -> tuple[float, ...]:
    """Centers of the characters; a space lies in the middle between its neighbors."""
    places = [float(center) for center in centers]
    for index in range(1, len(text) - 1):
        if text[index].isspace():
            places[index] = (places[index - 1] + places[index + 1]) / 2
    # in order, as they are searched by place
    return tuple(itertools.accumulate(places, max))


def crop_lines(picture: Picture, points: Points) -> list[Picture]:
    """The lines, each turned level; what runs downward is laid down counterclockwise."""
    return [_crop(picture, corners) for corners in points]


TALL = 1.5
"""A line this much higher than wide runs downward."""


def _crop(picture: Picture, corners: Points) -> Picture:
    top, right, bottom, left = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    width, height = max(1, int(max(top, bottom))), max(1, int(max(left, right)))
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, target)
    crop: Picture = cv2.warpPerspective(
        picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.ascontiguousarray(np.rot90(crop)) if height >= TALL * width else crop
