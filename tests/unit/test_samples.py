"""The committed samples are what scripts/make_samples.py makes, and say what their texts say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepocr.documents import DocumentLimits, open_document
from deepocr.render.raw import PAGE_SPLIT

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "deepocr" / "samples"


def test_the_script_makes_the_committed_texts(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts/make_samples.py"), str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    committed = {path.name for path in SAMPLES.iterdir() if path.is_file() and path.suffix != ".md"}
    assert {path.name for path in tmp_path.iterdir()} == committed
    for path in tmp_path.glob("*.txt"):
        assert path.read_text(encoding="utf-8") == (SAMPLES / path.name).read_text(encoding="utf-8")


def test_the_report_says_what_its_text_says() -> None:
    """Its own text layer is the witness."""
    expected = (SAMPLES / "report.txt").read_text(encoding="utf-8").split(PAGE_SPLIT)
    with open_document(SAMPLES / "report.pdf", DocumentLimits(), with_words=True) as document:
        assert document.num_pages == 3
        for number, text in zip((1, 2, 3), expected, strict=False):
            words = [word.text for word in document.page(number).words]
            assert sorted(words) == sorted(text.split())


@pytest.mark.parametrize(
    ("name", "size_px"), [("invoice.png", (1190, 1240)), ("letter.jpg", (840, 1190))]
)
def test_pictures_come_upright(name: str, size_px: tuple[int, int]) -> None:
    with open_document(SAMPLES / name, DocumentLimits()) as document:
        page = document.page(1)
    assert page.size_px == size_px
    assert page.dpi == pytest.approx(144, abs=0.1)


def test_samples_are_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*")) < 1_000_000
