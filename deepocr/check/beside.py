"""Checks a page in parallel with the engine that reads it, for front ends that offer checks."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from dataclasses import replace

from deepocr.check.checker import check_page, find_witness
from deepocr.engines.base import Capabilities, Engine
from deepocr.engines.registry import create_engine
from deepocr.errors import EngineBroken, EngineUnavailable, reason
from deepocr.pipeline import with_stage
from deepocr.settings import Settings
from deepocr.tasks import CHECKED_TASKS
from deepocr.types import Event, Job, Page, PageCheck, PageResult

log = logging.getLogger(__name__)


class CpuReader:
    """PP-OCR as a witness, loaded for the first page that needs it. For use in one event loop."""

    capabilities = Capabilities(
        "ppocr", CHECKED_TASKS, boxes=True, live_text=False, confidence=True
    )
    broken: EngineBroken | None = None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.model_copy(update={"engine": "ppocr", "ppocr_text_layer": False})
        self._loading: asyncio.Task[Engine] | None = None

    async def read(self, page: Page, job: Job) -> AsyncGenerator[Event, None]:
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(self._load))
        # shielded: the page that loads it may be canceled
        engine = await asyncio.shield(self._loading)
        async with aclosing(engine.read(page, job)) as events:
            async for event in events:
                yield event

    def _load(self) -> Engine:
        try:
            return create_engine(self._settings)
        except EngineUnavailable as error:
            log.warning("no CPU reader for checks: %s", error)
            raise EngineUnavailable("it is not installed here") from None

    async def close(self) -> None:
        if self._loading is not None and not self._loading.cancelled():
            (engine,) = await asyncio.gather(self._loading, return_exceptions=True)
            if not isinstance(engine, BaseException):
                await engine.close()


class Checking:
    """Checks an engine's readings against witnesses."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        name = engine.capabilities.engine
        self._copies = "text-layer" in name
        # PP-OCR cannot be its own witness
        self._reader = None if name.startswith("ppocr") else CpuReader(settings)

    async def checked(self, page: Page, reading: Awaitable[PageResult]) -> PageResult:
        """The page's reading with its check; a CPU reader reads in parallel with the engine.

        A failed check never fails the page: its verdict is "no witness", with the reason.
        """
        witness = asyncio.create_task(find_witness(page, self._reader))
        try:
            result = await reading
            if result.status == "failed":
                return result
            started_s = time.perf_counter()
            if self._copies:
                why = "the engine itself takes text from the PDF's layer"
                return replace(result, check=PageCheck(page.number, "no witness", "none", why))
            try:
                seen = await witness
                check = await check_page(page, result.regions, self._reader, witness=seen)
            except Exception as error:
                log.exception("page %d could not be checked", page.number)
                why = f"the check failed: {reason(error)}"
                check = PageCheck(page.number, "no witness", "none", why)
            return with_stage(
                replace(result, check=check), "check", time.perf_counter() - started_s
            )
        finally:
            witness.cancel()
            await asyncio.gather(witness, return_exceptions=True)

    async def close(self) -> None:
        if self._reader is not None:
            await self._reader.close()
