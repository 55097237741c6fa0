"""Large first letters that were not found as lines."""

import pymupdf
import pytest

from deepocr.documents import DocumentLimits, open_document
from deepocr.engines.registry import create_engine
from deepocr.pipeline import read_page
from deepocr.settings import Settings
from deepocr.tasks import make_job

WORDS = (
    "ver the past three decades the valley has changed more than in the three centuries before, and"
    " those who left as children hardly know it when they come back for the summer fair, for the"
    " ferry is gone and the mill stands empty beside the new road to the quarry above the town."
)


def page_with_initials(letters: str, size_pt: float, lines: int) -> bytes:
    """A paragraph for each letter, which reaches down beside so many lines."""
    with pymupdf.open() as pdf:
        page, y = pdf.new_page(width=595, height=842), 100.0
        for letter in letters:
            page.insert_text((80, y + 14 * (lines - 1)), letter, fontname="tiro", fontsize=size_pt)
            beside = 84 + pymupdf.get_text_length(letter, "tiro", size_pt)
            words, number = WORDS.split(), 0
            while words:
                left, text = (beside if number < lines else 80), words.pop(0)
                while (
                    words and pymupdf.get_text_length(f"{text} {words[0]}", "tiro", 11) < 515 - left
                ):
                    text += " " + words.pop(0)
                page.insert_text((left, y), text, fontname="tiro", fontsize=11)
                y, number = y + 14, number + 1
            y += 24
        return bytes(pdf.tobytes())


@pytest.mark.parametrize(("size_pt", "lines"), [(28, 2), (48, 3)])
async def test_no_large_first_letter_is_lost(size_pt: float, lines: int) -> None:
    engine = create_engine(Settings(engine="ppocr"))
    try:
        with open_document(
            page_with_initials("OAIS", size_pt, lines), DocumentLimits()
        ) as document:
            result = await read_page(engine, document.page(1), make_job())
    finally:
        await engine.close()
    begins = [region.text.split()[0] for region in result.regions if "three decades" in region.text]
    assert begins == ["Over", "Aver", "Iver", "Sver"]
