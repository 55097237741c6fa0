"""Shows sampled pages beside their text, and estimates the time and cost of the whole corpus."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

from deepocr.copies import Copies
from deepocr.corpus.options import CorpusOptions
from deepocr.corpus.progress import Report
from deepocr.corpus.rows import REGIONS
from deepocr.corpus.store import CorpusStore, Listed
from deepocr.documents import DocumentProcesses
from deepocr.errors import DeepOCRError
from deepocr.render.html import PICTURE_SIDE_PX, ShownPage, data_url, write_html
from deepocr.settings import Settings
from deepocr.storage import open_folder
from deepocr.types import PageResult

NAME = "samples.html"


def write_samples(
    store: CorpusStore, listed: Listed, options: CorpusOptions, settings: Settings
) -> None:
    """Write every sampled page with its picture, one page in memory at a time. Blocking."""
    copies = Copies(max_bytes=settings.max_bytes, keep_bytes=0)
    num_pages = sum(len(store.rows(part) or []) for part in _parts(store, listed))
    try:
        with DocumentProcesses.of(settings) as processes, store.folder.writing(NAME) as file:
            shown = (
                _shown(number, row, options, processes, copies)
                for number, row in enumerate(_rows(store, listed), 1)
            )
            write_html(file, f"{num_pages} pages of {listed.of:,} documents", num_pages, shown)
    finally:
        copies.close()


def sample_store(out: str, options: CorpusOptions) -> CorpusStore:
    return CorpusStore(open_folder(out).below("sample"), options)


def estimate_of(
    out: str, options: CorpusOptions, report: Report, price_per_hour: float | None
) -> str:
    """One sentence about the time and cost of the whole corpus at the rate of the sample."""
    store = sample_store(out, options)
    listed = store.listed()
    assert listed is not None
    opened = [document for shard in range(listed.shards) for document in store.opened(shard) or []]
    pages = sum(document.num_pages for document in opened)
    whole = round(pages * listed.of / max(1, len(opened)))
    if not report.pages_per_s:
        return f"{listed.of:,} documents with about {whole:,} pages"
    seconds = whole / report.pages_per_s
    cost = "" if price_per_hour is None else f" and {price_per_hour * seconds / 3600:,.2f}"
    return (
        f"{listed.of:,} documents with about {whole:,} pages would take about "
        f"{timedelta(seconds=round(seconds))}{cost} at the sample's rate, the engines' start "
        "included"
    )


def _parts(store: CorpusStore, listed: Listed) -> Iterator[Any]:
    for shard in range(listed.shards):
        yield from store.parts(shard)


def _rows(store: CorpusStore, listed: Listed) -> Iterator[dict[str, Any]]:
    for part in _parts(store, listed):
        yield from store.rows(part) or []


def _shown(
    number: int,
    row: dict[str, Any],
    options: CorpusOptions,
    processes: DocumentProcesses,
    copies: Copies,
) -> ShownPage:
    result = PageResult(
        number,
        row["status"],
        (row["width_px"], row["height_px"]),
        regions=REGIONS.validate_json(row["regions"]),
        error=row["error"],
    )
    reading = options.reading
    try:
        with (
            copies.copy(row["document"]) as path,
            processes.open(path, dpi=reading.dpi, max_side_px=reading.max_side_px) as document,
        ):
            picture = data_url(document.page(row["page"]).image, PICTURE_SIDE_PX)
    except DeepOCRError:
        picture = None  # the row says why it could not be drawn
    title = f"{PurePosixPath(row['document']).name}, page {row['page']}"
    return ShownPage(result, picture, {}, title)
