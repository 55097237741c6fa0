"""Our way of running the networks against rapidocr's own, on the same picture."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from deepocr.engines.ppocr.recognition.models import Detector, Recognizer, crop_lines, model_file
from deepocr.errors import EngineUnavailable
from tests.unit.ppocr.pages import picture_of, white

TEXTS = [
    (40, 40, 40, "A heading of some size"),
    (40, 130, 24, "The first line of the text, with a comma and 27 words fewer"),
    (40, 170, 24, "than the second one (which is not true): see page 3/4."),
    (40, 250, 18, "Small print, 50% of it in brackets [1] and quotes 'like this'"),
]


def test_lines_and_texts_are_those_of_the_library() -> None:
    from rapidocr import RapidOCR

    picture = np.ascontiguousarray(np.asarray(picture_of(TEXTS, (900, 320)))[:, :, ::-1])
    library = RapidOCR(
        params={
            "Global.log_level": "error",
            "Global.use_cls": False,
            "Det.limit_type": "max",
            "Rec.rec_img_shape": [3, 48, 48],
            "Rec.rec_batch_num": 1,
        }
    )
    theirs = library(picture)
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    points = Detector(1)(picture)
    assert len(points) == len(theirs.boxes) == len(TEXTS)
    order = np.argsort(points[:, 0, 1])
    assert np.abs(points[order] - theirs.boxes).max() <= 3

    read = Recognizer()
    ours = [read(crop) for crop in crop_lines(picture, points[order])]
    assert [line.text for line in ours] == list(theirs.txts)
    for line, score in zip(ours, theirs.scores, strict=True):
        assert line.score == pytest.approx(score, abs=0.05)
        assert len(line.char_x) == len(line.text)
        assert list(line.char_x) == sorted(line.char_x)
        assert 0 <= line.char_x[0] < line.char_x[-1] <= 1


def test_memory_for_a_large_picture_is_not_kept() -> None:
    detector = Detector(1)
    detector(white(640, 640))
    before_mb = resident_mb()
    detector(white(2048, 2048))
    # it takes 700 while it runs
    assert resident_mb() - before_mb < 300


def test_detectors_share_the_memory_they_keep() -> None:
    picture = white(1440, 1440)
    detectors = [Detector(2), Detector(1)]
    detectors[0](picture)
    before_mb = resident_mb()
    # by itself it would take 300
    detectors[1](picture)
    assert resident_mb() - before_mb < 150


def resident_mb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def test_a_missing_model_is_said_with_the_remedy() -> None:
    with pytest.raises(EngineUnavailable, match="pip install 'rapidocr"):
        model_file("no_such_model.onnx")
