"""Lines in, lines out: what was recognized stands in some region, whatever the page looks like."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from deepocr.documents import DocumentLimits, open_document
from deepocr.engines.base import Engine
from deepocr.engines.ppocr import reader
from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.structure.layout import Block, find_blocks
from deepocr.engines.ppocr.structure.layout_model import Seen
from deepocr.engines.registry import create_engine
from deepocr.pipeline import read_page
from deepocr.settings import Settings
from deepocr.tasks import make_job
from tests.unit.ppocr.pages import line, prose, white

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT / "deepocr" / "samples"
PAGES = sorted([*(ROOT / "samples" / "labeled").glob("*.pdf"), SAMPLES / "invoice.png"])


def characters(texts: Iterable[str]) -> Counter[str]:
    return Counter(character for text in texts for character in text if not character.isspace())


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = create_engine(Settings(engine="ppocr"))
    yield made
    asyncio.run(made.close())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
@pytest.mark.parametrize("task", ["Convert to Markdown", "OCR with Boxes"])
async def test_lines_in_are_lines_out(
    path: Path, task: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognized: list[str] = []

    def spy(picture: Any, lines: Sequence[TextLine], seen: Sequence[Seen]) -> list[Block]:
        recognized.extend(one.text for one in lines)
        return find_blocks(picture, lines, seen)

    monkeypatch.setattr(reader, "find_blocks", spy)
    with open_document(path, DocumentLimits()) as document:
        result = await read_page(engine, document.page(1), make_job(task))
    written = characters(one.text for region in result.regions for one in region.lines)
    assert recognized
    assert written == characters(recognized)


def test_short_lines_in_a_figure_are_kept() -> None:
    """An ID card: what the layout model calls a figure holds a date and a number."""
    card = [line(120, 520, "Nr 7"), line(120, 560, "12.03.1984"), line(120, 600, "Anna Kowalska")]
    lines = [*prose(100, 60, [f"word {n} of the running text above it" for n in range(9)]), *card]
    blocks = find_blocks(white(), lines, [Seen("figure", 0.9, (100, 500, 500, 700))])
    (figure,) = (block for block in blocks if block.label == "image")
    assert [one.text for one in figure.lines] == ["Nr 7", "12.03.1984", "Anna Kowalska"]
    assert figure.markdown == "Anna Kowalska"
