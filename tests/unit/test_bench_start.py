"""The bench that times whole processes of the PDF helper."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from deepocr.errors import EngineError
from measure.bench.start import start_seconds


def test_the_first_page_comes_no_later_than_the_end(tmp_path: Path) -> None:
    picture = Image.new("RGB", (400, 300), "white")
    ImageDraw.Draw(picture).text((40, 40), "A page", fill="black", font_size=60)
    picture.save(tmp_path / "page.png")
    times = start_seconds([tmp_path / "page.png"], "scripted", 2)["page.png"]
    assert 0 < times["first_page_s"] <= times["end_s"]
    assert len(times["first_page_runs_s"]) == 2


def test_a_run_that_fails_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"nothing\.png"):
        start_seconds([tmp_path / "nothing.png"], "scripted", 1)
