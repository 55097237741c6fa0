"""A whole document and the texts of its pages."""

import asyncio
from pathlib import Path

from deepocr.check.checker import check_page
from deepocr.check.texts import load_texts
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
) -> list[PageCheck]:
    """Every page of `file` that has a text in `text`, see `load_texts`. Raises InvalidInput."""
    with (
        DocumentProcesses.of(settings) as processes,
        processes.open(file, dpi=settings.dpi, with_words=True) as document,
    ):
        checks = []
        for number, written in sorted(load_texts(text, document.num_pages, page).items()):
            shown = await asyncio.to_thread(document.page, number)
            regions = parse_regions(written, shown.size_px)
            checks.append(await check_page(shown, regions, reader, strictness=strictness))
        return checks
