"""PP-OCR behind the Engine protocol: pages in threads, events out."""

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from deepocr.engines.base import Capabilities, check_task
from deepocr.engines.ppocr.reader import Models, PageText, read_page
from deepocr.engines.ppocr.recognition.lines import LineReader, Stop, StoppedError
from deepocr.engines.ppocr.structure.layout_model import LayoutModel
from deepocr.errors import EngineBroken, EngineError, reason
from deepocr.machine import num_cores
from deepocr.settings import Settings
from deepocr.tasks import DEFAULT_NEW_TOKENS
from deepocr.types import Event, Job, Page, PageDone, RegionFound, TextDelta

TASKS = frozenset(
    {"Convert to Markdown", "Free OCR", "OCR with Boxes", "Locate Object by Reference"}
)


class PPOCREngine:
    """Reads `concurrency` pages at once; their lines share one pool of threads."""

    broken: EngineBroken | None = None

    def __init__(self, models: Models) -> None:
        self._models = models
        # one page more than cores: its layout is worked out while the cores read lines
        concurrency = models.lines.threads + 1
        self._pages = ThreadPoolExecutor(concurrency, thread_name_prefix="ppocr-page")
        self._in_flight = 0
        # held by a page that found no other at work
        self._all_cores = threading.Lock()
        self._turns = itertools.count()
        self.capabilities = Capabilities(
            engine=_name(models),
            tasks=TASKS,
            boxes=True,
            live_text=False,
            confidence=True,
            concurrency=concurrency,
            presets=frozenset(),
        )

    async def read(self, page: Page, job: Job) -> AsyncIterator[Event]:
        check_task(self.capabilities, job)
        if self.broken:
            raise EngineBroken(str(self.broken))
        stop = Stop(next(self._turns))
        alone = self._in_flight == 0
        self._in_flight += 1
        try:
            reading = await asyncio.get_running_loop().run_in_executor(
                self._pages, self._read, page, job, stop, alone
            )
        finally:
            stop.set()
            self._in_flight -= 1
        for piece in reading.pieces:
            if piece.region is not None:
                yield RegionFound(piece.region)
            yield TextDelta(piece.raw, piece.probabilities)
        notes = dict(reading.notes)
        if job.max_new_tokens < DEFAULT_NEW_TOKENS:
            notes["max_new_tokens"] = "not heeded: this reader writes all that the page says"
        yield PageDone(seconds=reading.seconds, notes=notes)

    def _read(self, page: Page, job: Job, stop: Stop, alone: bool) -> PageText:
        """A page that is alone gets all cores, so that the first page of a document is there soon;
        those that come meanwhile wait for it."""
        started_s = time.perf_counter()
        try:
            with self._all_cores:
                stop.check()
                if alone:
                    return read_page(self._models, page, job, stop, alone)
            return read_page(self._models, page, job, stop, alone)
        except StoppedError:
            return PageText((), {"canceled": time.perf_counter() - started_s})
        except Exception as error:
            if self.broken:
                raise EngineBroken(str(self.broken)) from error
            # onnxruntime and OpenCV raise classes of their own
            raise EngineError(f"ppocr cannot read the page; {reason(error)}") from error

    async def close(self) -> None:
        """Pages that are being read end with EngineBroken."""
        self.broken = EngineBroken("the engine was closed; make a new engine")
        self._models.lines.close()
        # those that wait for a thread are not canceled: they see that the engine is closed
        self._pages.shutdown(wait=False)


def _name(models: Models) -> str:
    """The engine's name in results, with what changes its output."""
    return "ppocr text-layer" if models.use_text_layer else "ppocr"


def create(settings: Settings) -> PPOCREngine:
    """The engine with its models loaded. `ppocr_threads` 0 means every core this process has."""
    threads = settings.ppocr_threads or num_cores()
    with ThreadPoolExecutor(1) as loader:
        layout = loader.submit(LayoutModel)
        lines = LineReader(threads)
        return PPOCREngine(Models(lines, layout.result(), settings.ppocr_text_layer))
