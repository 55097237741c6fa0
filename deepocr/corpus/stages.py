"""The code that runs on the cluster's machines: a task that opens a shard, an actor that reads
parts."""

import asyncio
import faulthandler
import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ray.util.metrics import Counter as RayCounter

from deepocr.book.engine_keeper import EngineKeeper
from deepocr.book.page_reading import CheckOptions
from deepocr.check.beside import CpuReader
from deepocr.copies import Copies
from deepocr.corpus.opening import open_shard
from deepocr.corpus.options import CorpusOptions
from deepocr.corpus.progress import kind_of
from deepocr.corpus.reading import PartOutcome, PartReader
from deepocr.corpus.store import CorpusStore
from deepocr.documents import DocumentProcesses
from deepocr.engines.base import Engine, check_task
from deepocr.engines.registry import create_engine
from deepocr.errors import DeepOCRError
from deepocr.settings import Settings
from deepocr.storage import open_folder
from deepocr.tasks import CHECKED_TASKS

HANGS_S = 120.0
"""Seconds beyond a page's time limit after which a process with a blocked event loop is ended."""


class OpenShard:
    """Maps a shard to its missing parts; runs in a task."""

    def __init__(self, address: str, options: CorpusOptions, settings: Settings) -> None:
        self._made_of = address, options, settings

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        address, options, settings = self._made_of
        store = CorpusStore(open_folder(address), options)
        copies = Copies(max_bytes=settings.max_bytes, keep_bytes=0)
        one = settings.model_copy(update={"draw_processes": 1})
        with DocumentProcesses.of(one) as processes:
            try:
                for part in open_shard(store, int(row["shard"]), options, processes, copies):
                    yield {"shard": part.shard, "part": part.number, "error": "", "reason": ""}
            except DeepOCRError as error:
                yield {"shard": row["shard"], "part": 0, **_told(error)}
            finally:
                copies.close()


class Reader:
    """An engine and what it needs; runs in an actor. Each part is a thread that waits for the event
    loop."""

    def __init__(self, address: str, options: CorpusOptions, settings: Settings) -> None:
        self._store = CorpusStore(open_folder(address), options)
        self._options = options
        self._settings = settings
        self._metrics = _PageMetrics()
        self._loop = asyncio.new_event_loop()
        self._started: asyncio.Task[PartReader] | None = None
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The outcome of a part; an error that no page caused is passed to the driver."""
        if row["error"]:
            return {"outcome": "", "error": row["error"], "reason": row["reason"]}
        work = self._read(int(row["shard"]), int(row["part"]))
        try:
            outcome = asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except DeepOCRError as error:
            return {"outcome": "", **_told(error)}
        self._metrics.part_done(outcome)
        return {"outcome": outcome_to(outcome), "error": "", "reason": ""}

    async def _read(self, shard: int, part: int) -> PartOutcome:
        if self._started is None:
            self._started = asyncio.create_task(self._start())
        return await (await asyncio.shield(self._started)).read(shard, part)

    async def _start(self) -> PartReader:
        """Raises EngineUnavailable, UnsupportedTask."""
        settings, reading = self._settings, self._options.reading

        async def start_engine() -> Engine:
            return await asyncio.to_thread(create_engine, settings)

        engine = await start_engine()
        check_task(engine.capabilities, reading.job)
        name = engine.capabilities.engine
        wanted = reading.check != "none" and reading.job.task in CHECKED_TASKS
        other = reading.check == "all" and not name.startswith("ppocr")
        if reading.page_timeout_s:
            self._watch = asyncio.create_task(_watch(reading.page_timeout_s + HANGS_S))
        return PartReader(
            self._store,
            self._options,
            EngineKeeper(engine, start_engine),
            DocumentProcesses.of(settings),
            Copies(max_bytes=settings.max_bytes),
            CheckOptions(
                wanted and "text-layer" not in name, CpuReader(settings) if other else None
            ),
        )


async def _watch(limit_s: float) -> None:
    """End the process if its event loop is blocked, by whatever code: the timer does not run
    Python."""
    while True:
        faulthandler.dump_traceback_later(limit_s, exit=True, file=2)
        await asyncio.sleep(limit_s / 8)


class _PageMetrics:
    """Each reader's metrics for Prometheus, exported by Ray."""

    def __init__(self) -> None:
        self._pages = RayCounter("deepocr_corpus_pages", "pages read", tag_keys=("status",))
        self._failed = RayCounter("deepocr_corpus_failed", "pages failed", tag_keys=("reason",))
        self._tokens = RayCounter("deepocr_corpus_output_tokens", "tokens written")

    def part_done(self, outcome: PartOutcome) -> None:
        for status, count in outcome.statuses.items():
            self._pages.inc(count, {"status": status})
        for reason, count in outcome.reasons.items():
            self._failed.inc(count, {"reason": kind_of(reason)})
        if outcome.output_tokens:
            self._tokens.inc(outcome.output_tokens)


def outcome_to(outcome: PartOutcome) -> str:
    return json.dumps(vars(outcome))


def outcome_from(text: str) -> PartOutcome:
    kept = json.loads(text)
    return PartOutcome(
        **{**kept, "statuses": Counter(kept["statuses"]), "reasons": Counter(kept["reasons"])}
    )


def _told(error: DeepOCRError) -> dict[str, str]:
    return {"error": type(error).__name__, "reason": str(error)}
