"""Checks a whole document against the texts of its pages."""

import asyncio
from pathlib import Path

from deepocr.check.checker import check_page, find_witness
from deepocr.check.dividing import divide
from deepocr.check.texts import UNDIVIDED, load_texts
from deepocr.check.witness import Witness
from deepocr.documents import DocumentProcesses
from deepocr.engines.base import Engine
from deepocr.parsing.grounding import parse_regions
from deepocr.settings import Settings
from deepocr.types import PageCheck


async def check_document(
    file: Path,
    text: Path,
    settings: Settings,
    *,
    page: int | None = None,
    reader: Engine | None = None,
    strictness: float = 1.0,
    password: str = "",
) -> list[PageCheck]:
    """Check every page of `file`, or only `page`, against its text in `text` (see `load_texts`).
    One text of many pages is divided. A page without a text is contradicted. Raises InvalidInput.
    """
    with (
        DocumentProcesses.of(settings) as processes,
        processes.open(file, dpi=settings.dpi, password=password, with_words=True) as document,
    ):
        numbers = range(1, document.num_pages + 1)
        texts = load_texts(text, document.num_pages, page)
        witnesses: dict[int, Witness] = {}
        if UNDIVIDED in texts:
            for number in numbers:
                shown = await asyncio.to_thread(document.page, number)
                witnesses[number] = await find_witness(shown, reader)
            parts = await asyncio.to_thread(divide, texts[UNDIVIDED], list(witnesses.values()))
            texts = dict(zip(numbers, parts, strict=True))
        checks = []
        for number in numbers if page is None else [page]:
            if number not in texts:
                why = "there is no text of this page"
                checks.append(PageCheck(number, "contradicted", "none", why))
                continue
            shown = await asyncio.to_thread(document.page, number)
            regions = parse_regions(texts[number], shown.size_px)
            checks.append(
                await check_page(
                    shown,
                    regions,
                    reader,
                    witness=witnesses.get(number),
                    strictness=strictness,
                )
            )
        return checks
