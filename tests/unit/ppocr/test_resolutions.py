"""Structure does not depend on the resolution that a page is drawn at."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from rapidfuzz import fuzz

from deepocr.documents import DocumentLimits, open_document
from deepocr.engines.base import Engine
from deepocr.engines.registry import create_engine
from deepocr.evaluation.checks import load_checks, run_check
from deepocr.evaluation.grids import find_tables
from deepocr.evaluation.texts import plain
from deepocr.pipeline import read_page
from deepocr.render.markdown import render_markdown
from deepocr.settings import Settings
from deepocr.tasks import make_job

LABELED = Path(__file__).resolve().parents[3] / "samples" / "labeled"
CHECKS = load_checks(LABELED / "checks.jsonl").checks
RESOLUTIONS = (100, 144, 200, 300)

QUICK = ("ruled_table",)
"""Read without being asked for; the others take minutes."""

LEAST_ALIKE = 97.0
"""Of 100. Letters may be read otherwise; a paragraph in another place costs more."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = create_engine(Settings(engine="ppocr"))
    yield made
    asyncio.run(made.close())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.name, id=path.stem, marks=() if path.stem in QUICK else pytest.mark.slow)
        for path in sorted(LABELED.glob("*.pdf"))
    ],
)
async def test_checks_tables_and_order_are_the_same_at_every_resolution(
    name: str, engine: Engine
) -> None:
    written: dict[int, str] = {}
    for dpi in RESOLUTIONS:
        with open_document(LABELED / name, DocumentLimits(), dpi=dpi) as document:
            result = await read_page(engine, document.page(1), make_job())
        written[dpi] = render_markdown(result)
        failed = [
            check.id for check in CHECKS if check.pdf == name and not run_check(check, written[dpi])
        ]
        assert not failed, f"at {dpi} dpi"
    shapes = {
        dpi: [Counter(table.owners.values()) for table in find_tables(text)]
        for dpi, text in written.items()
    }
    usual = written[144]
    for dpi, text in written.items():
        assert shapes[dpi] == shapes[144], f"at {dpi} dpi"
        assert fuzz.ratio(plain(text), plain(usual)) >= LEAST_ALIKE, f"at {dpi} dpi"
