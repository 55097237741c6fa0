"""Reads one page as well as possible: finds its orientation, turns it, reads it again if that
helps."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from deepocr.book import retries
from deepocr.book.options import ReadingOptions
from deepocr.book.orientation import Look, look_at
from deepocr.book.pictures import CutFigure, cut_figures
from deepocr.book.records import PageRecord
from deepocr.book.retries import Reading
from deepocr.check.checker import check_page, find_witness
from deepocr.check.witness import Witness
from deepocr.documents import Document
from deepocr.documents.ink import ink_mask, ink_share, is_blank
from deepocr.documents.turning import turn, turn_back, turn_upright
from deepocr.engines.base import Engine
from deepocr.errors import EngineBroken, EngineError, UnsupportedTask
from deepocr.parsing.words import agreement
from deepocr.pipeline import failed_page, read_page
from deepocr.types import Job, Page, PageResult, PageStatus


@dataclass(frozen=True, eq=False)
class Prepared:
    """A page that is drawn and examined. `page` is None if it could not be drawn (see `failed`)."""

    number: int
    page: Page | None
    look: Look
    ink: float = 0.0
    blank: bool = False
    failed: PageResult | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Memory in bytes that its picture takes."""
        return 0 if self.page is None else 3 * self.page.size_px[0] * self.page.size_px[1]


@dataclass(frozen=True)
class ReadPage:
    """A finished page, ready to be saved, with its seconds by stage and those of each reading."""

    record: PageRecord
    figures: tuple[CutFigure, ...]
    seconds: Mapping[str, float]
    reading_seconds: tuple[Mapping[str, float], ...] = ()


def prepare(document: Document, number: int) -> Prepared:
    """Draw a page and examine its ink and orientation. Blocking."""
    started_s = time.perf_counter()
    try:
        page = document.page(number)
        drawn_s = time.perf_counter()
        mask = ink_mask(page.image)
        look = look_at(mask, page.words)
        ink, blank = round(ink_share(mask), 6), is_blank(mask)
    except Exception as error:  # noqa: BLE001 - logged by failed_page
        return not_drawn(number, failed_page(number, (0, 0), error))
    seconds = {"render": drawn_s - started_s, "look": time.perf_counter() - drawn_s}
    return Prepared(number, page, look, ink, blank, seconds=seconds)


def not_drawn(number: int, failed: PageResult | None = None) -> Prepared:
    """A page without a picture."""
    return Prepared(number, None, Look((0,), has_lines=False), failed=failed)


@dataclass(frozen=True)
class CheckOptions:
    """Whether pages are checked against a witness; `reader` is the one for pages without a text
    layer."""

    wanted: bool
    reader: Engine | None = None


async def read_prepared(
    engine: Engine,
    document: Document | None,
    prepared: Prepared,
    options: ReadingOptions,
    checking: CheckOptions,
) -> ReadPage:
    """Read a page up to `max_readings` times and keep the best reading. Its figures are cut out of
    the `document`; without one there are no figures.

    Raises UnsupportedTask and EngineBroken; any other error makes it a failed page.
    """
    try:
        return await _read(engine, document, prepared, options, checking)
    except (UnsupportedTask, EngineBroken):
        raise
    except Exception as error:  # noqa: BLE001 - logged by failed_page
        size_px = prepared.page.size_px if prepared.page else (0, 0)
        return failed_reading(prepared, failed_page(prepared.number, size_px, error))


def failed_reading(prepared: Prepared, failed: PageResult) -> ReadPage:
    """A page that could not be read, ready to be saved."""
    dpi = prepared.page.dpi if prepared.page else None
    return ReadPage(PageRecord(replace(failed, dpi=dpi)), (), prepared.seconds)


async def _read(
    engine: Engine,
    document: Document | None,
    prepared: Prepared,
    options: ReadingOptions,
    checking: CheckOptions,
) -> ReadPage:
    page = prepared.page
    if page is None:
        failed = prepared.failed or PageResult(prepared.number, "failed", (0, 0))
        return failed_reading(prepared, failed)
    if prepared.blank:
        result = PageResult(prepared.number, "blank", page.size_px, dpi=page.dpi)
        record = PageRecord(result, ink=prepared.ink)
        return ReadPage(record, (), prepared.seconds)

    readings = await _climb(engine, page, prepared.look, options, checking)
    kept = retries.best(readings)
    status, note = _judge(kept, readings, prepared.look)
    result = replace(kept.result, status=status, seconds={})
    if status == "failed":
        result = replace(result, error=kept.result.error or note)
    turned = kept.rung.turned
    started_s = time.perf_counter()
    figures: tuple[CutFigure, ...] = ()
    if document is not None:
        figures = await asyncio.to_thread(cut_figures, document, page, turned, result)
    seconds = {**prepared.seconds, "figures": time.perf_counter() - started_s}
    record = PageRecord(
        result=turn_back(result, turned),
        turned=turned,
        ink=prepared.ink,
        note=note,
        attempts=tuple(reading.as_attempt(reading is kept) for reading in readings),
        figures=tuple(cut.figure for cut in figures),
    )
    by_reading = tuple(reading.result.seconds for reading in readings)
    return ReadPage(record, figures, seconds, by_reading)


async def _climb(
    engine: Engine, page: Page, look: Look, options: ReadingOptions, checking: CheckOptions
) -> list[Reading]:
    """Read in one way after another until a reading is good or `max_readings` is reached."""
    readings: list[Reading] = []
    witness = None
    if checking.wanted:
        # in parallel: the engine does not wait for it
        witness = asyncio.create_task(find_witness(page, checking.reader))
    try:
        for rung in retries.rungs(options.job, look, engine.capabilities):
            if not retries.is_promising(rung, readings, look):
                continue
            turned_page = await asyncio.to_thread(turn, page, rung.turned)
            result = await _read_once(engine, turned_page, rung.job, options.page_timeout_s)
            if witness is not None and result.status != "failed":
                result = await _checked(page, result, rung.turned, await witness, checking)
            readings.append(Reading(rung, result, agreement(result, page.words)))
            if len(readings) >= options.max_readings or retries.is_settled(readings, look):
                break
    finally:
        if witness is not None:
            witness.cancel()
    return readings


async def _read_once(engine: Engine, page: Page, job: Job, timeout_s: float | None) -> PageResult:
    try:
        async with asyncio.timeout(timeout_s):
            return await read_page(engine, page, job)
    except TimeoutError:
        late = EngineError(f"the page took more than {timeout_s:g} s to read; raise --page-timeout")
        return failed_page(page.number, page.size_px, late)


async def _checked(
    page: Page, result: PageResult, turned: int, witness: Witness, checking: CheckOptions
) -> PageResult:
    """The result with its check. The witness saw the unturned page, so the regions are turned back
    for the comparison."""
    laid = turn_back(result, turned)
    check = await check_page(page, laid.regions, checking.reader, witness=witness)
    return turn_upright(replace(laid, check=check), turned)


def _judge(kept: Reading, readings: list[Reading], look: Look) -> tuple[PageStatus, str | None]:
    """The page's status, and a note if there is something to explain."""
    if kept.status in ("failed", "truncated", "repetition"):
        return kept.status, None
    if not retries.is_empty(kept, look):
        if kept.contradicted:
            return "contradicted", None
        again = len(readings) > 1 and any(reading.status != "ok" for reading in readings)
        changed = kept is not readings[0]
        return ("retried" if again or changed else "ok"), None
    if look.has_lines:
        return "failed", f"it has lines of text, but {len(readings)} readings found none"
    return "ok", "it has ink, but nothing that could be read"
