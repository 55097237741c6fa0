"""A page in a script that the recognizer does not know says so."""

import asyncio
from collections.abc import Iterator

import pymupdf
import pytest

from deepocr.documents import DocumentLimits, open_document
from deepocr.engines.base import Engine
from deepocr.engines.registry import create_engine
from deepocr.pipeline import read_page
from deepocr.settings import Settings
from deepocr.tasks import make_job
from deepocr.types import PageResult

TEXTS = {
    "Cyrillic": "Все люди рождаются свободными и равными в своем достоинстве и правах. ",
    "Arabic": "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميراً. ",
    "Devanagari": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। ",
    "English": "All human beings are born free and equal in dignity and rights. ",
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = create_engine(Settings(engine="ppocr"))
    yield made
    asyncio.run(made.close())


async def read(engine: Engine, text: str) -> PageResult:
    with pymupdf.open() as pdf:
        page = pdf.new_page(width=420, height=200)
        page.insert_htmlbox((40, 20, 380, 190), f'<p style="font-size:12px">{text * 3}</p>')
        content = bytes(pdf.tobytes())
    with open_document(content, DocumentLimits()) as document:
        return await read_page(engine, document.page(1), make_job())


@pytest.mark.parametrize("script", TEXTS)
async def test_a_script_that_is_not_known_is_told_and_makes_no_salad(
    script: str, engine: Engine
) -> None:
    result = await read(engine, TEXTS[script])
    assert result.status == "ok"
    if script == "English":
        assert "script" not in result.notes
        assert "born free and equal" in result.raw
    else:
        assert "lines could not be read" in result.notes["script"]
        assert sum(map(str.isalpha, "".join(r.text for r in result.regions))) < 20
