"""Every member of the family as an engine, from a checkpoint's folder to a page's text."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from PIL import Image

from deepocr.documents import DocumentLimits, open_document
from deepocr.engines.deepseek.engine import choose_ban
from deepocr.engines.deepseek.family import DEEPSEEK_OCR, DEEPSEEK_OCR_2, UNLIMITED_OCR
from deepocr.engines.deepseek.sampling import NGramBan
from deepocr.engines.deepseek.tokens import read_tokens
from deepocr.engines.registry import create_engine
from deepocr.errors import SettingsError, UnsupportedTask
from deepocr.pipeline import read_page, read_pages, warm_up
from deepocr.settings import Settings
from deepocr.tasks import make_job
from deepocr.types import Page
from tests.small_family import small_checkpoint

PAGE = Page(1, Image.new("RGB", (300, 200), (200, 30, 90)))


@pytest.mark.parametrize(
    ("member", "name", "slots", "tasks", "prompt"),
    [
        ("DeepSeek-OCR-2", "deepseek-ocr-2 fp32", 257, 6,
         "<image>\n<|grounding|>Convert the document to markdown."),
        ("Unlimited-OCR", "unlimited-ocr fp32", 273, 2, "<image>document parsing."),
    ],
)  # fmt: skip
async def test_a_member_as_an_engine(
    tmp_path: Path, member: str, name: str, slots: int, tasks: int, prompt: str
) -> None:
    folder = small_checkpoint(member, tmp_path)
    settings = Settings(engine="deepseek", checkpoints=folder, device="cpu", dtype="fp32")
    engine = create_engine(settings)
    try:
        await warm_up(engine)
        assert engine.capabilities.engine == name
        assert len(engine.capabilities.tasks) == tasks
        result = await read_page(engine, PAGE, make_job(preset="base", max_new_tokens=20))
        assert (result.status, result.usage.output_tokens) == ("truncated", 20)
        ids = read_tokens(folder, 1024).prompt(prompt, slots).ids
        assert result.usage.prompt_tokens == len(ids)
        with pytest.raises(
            UnsupportedTask, match=r"no resolution 'Tiny'; it has: Gundam \(Recommended\), Base"
        ):
            await read_page(engine, PAGE, make_job(preset="tiny"))
        if tasks == 2:
            with pytest.raises(UnsupportedTask, match="cannot do 'Free OCR'"):
                await read_page(engine, PAGE, make_job("free"))
    finally:
        await engine.close()


async def test_unlimited_ocr_reads_pages_together(tmp_path: Path) -> None:
    folder = small_checkpoint("Unlimited-OCR", tmp_path)
    settings = Settings(engine="deepseek", checkpoints=folder, device="cpu", dtype="fp32")
    engine = create_engine(settings)
    job = make_job("together", preset="base", max_new_tokens=20, may_join_pages=True)
    picture = io.BytesIO()
    PAGE.image.save(picture, "TIFF", save_all=True, append_images=[PAGE.image] * 2)
    try:
        with open_document(picture.getvalue(), DocumentLimits()) as document:
            numbers = document.select("")
            pages = [page async for page in read_pages(engine, document, numbers, job, window=1)]
        # one text for all: the stand-in model writes no mark of a page
        assert [page.status for page in pages] == ["truncated", "failed", "failed"]
        assert pages[0].usage.output_tokens == 3 * 20
        ids = read_tokens(folder, 1024).prompt("<image>Multi page parsing.", 3 * 273).ids
        assert pages[0].usage.prompt_tokens == len(ids)
        with pytest.raises(UnsupportedTask, match="choose the resolution Base"):
            await read_page(engine, PAGE, replace(job, preset="Gundam (Recommended)"))
    finally:
        await engine.close()


def test_the_ban_is_the_models_own_unless_set() -> None:
    cells = frozenset({8, 9})
    assert choose_ban(Settings(), DEEPSEEK_OCR, cells) == NGramBan(30, 90, cells)
    assert choose_ban(Settings(), DEEPSEEK_OCR_2, cells) == NGramBan(20, 90, cells)
    assert choose_ban(Settings(), UNLIMITED_OCR, cells) == NGramBan(35, 128, long_window=1024)
    assert choose_ban(Settings(ngram_size=0), UNLIMITED_OCR, cells).size == 0
    assert choose_ban(Settings(ngram_window=90), UNLIMITED_OCR, cells) == NGramBan(35, 90)
    with pytest.raises(SettingsError, match="DEEPOCR_NGRAM_SIZE=35"):
        choose_ban(Settings(ngram_window=20), UNLIMITED_OCR, cells)
