"""Checks one page against the cheapest sound witness."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from deepocr.check.compare import compare
from deepocr.check.reading import read_regions
from deepocr.check.thresholds import FOR_WITNESS
from deepocr.check.witness import Witness, layer_witness, reader_witness
from deepocr.documents.ink import ink_mask, is_blank
from deepocr.engines.base import Engine
from deepocr.errors import EngineBroken
from deepocr.pipeline import read_page
from deepocr.types import Job, Page, PageCheck, Region

LITTLE_IN_COMMON = 0.5
"""If coverage and support are both below this, the layer itself is doubted and the CPU reader
asked."""

READER_LIMIT_S = 300.0
"""Limit in seconds for the CPU reader and one page, including the wait behind other pages."""


async def find_witness(page: Page, reader: Engine | None) -> Witness:
    """The page's text layer if it is sound, else the text that `reader` reads, else none."""
    layer = await asyncio.to_thread(layer_witness, page)
    if layer.name != "none":
        return layer
    if await asyncio.to_thread(lambda: is_blank(ink_mask(page.image))):
        return Witness("ink", "the page is blank")
    if reader is None:
        return layer
    seen = await _ask(reader, page)
    return replace(seen, reason=f"{layer.reason}; {seen.reason}")


async def check_page(
    page: Page,
    regions: Sequence[Region],
    reader: Engine | None = None,
    *,
    witness: Witness | None = None,
    strictness: float = 1.0,
) -> PageCheck:
    """Check a page's text against its `witness`, or the best one available.

    `reader` is the CPU reader, for pages without a sound text layer; None asks the layer alone.
    """
    witness = witness or await find_witness(page, reader)
    checked = await asyncio.to_thread(_compare, page, regions, witness, strictness)
    if witness.name == "text layer" and reader is not None and _in_vain(checked):
        other = await _ask(reader, page)
        second = await asyncio.to_thread(_compare, page, regions, other, strictness)
        if second.verdict not in ("contradicted", "no witness"):
            reason = f"the text layer is not what the page shows; {other.reason}"
            return replace(second, reason=reason)
    return checked


async def _ask(reader: Engine, page: Page) -> Witness:
    """The text that the CPU reader read. A broken reader is no witness, but fails no page."""
    try:
        async with asyncio.timeout(READER_LIMIT_S):
            return reader_witness(await read_page(reader, page, Job()))
    except TimeoutError:
        return Witness("none", f"the CPU reader took longer than {READER_LIMIT_S:g} s")
    except EngineBroken as error:
        return Witness("none", f"the CPU reader is broken: {error}")


def _compare(
    page: Page, regions: Sequence[Region], witness: Witness, strictness: float
) -> PageCheck:
    reading = read_regions(regions)
    thresholds = FOR_WITNESS.get(witness.name, FOR_WITNESS["text layer"])
    return compare(page.number, page.size_px, reading, witness, thresholds.scaled(strictness))


def _in_vain(checked: PageCheck) -> bool:
    return max(checked.coverage or 0.0, checked.support or 0.0) < LITTLE_IN_COMMON
