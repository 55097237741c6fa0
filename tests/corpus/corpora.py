"""Corpora made on the spot, and a run over one without a cluster."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pymupdf

from deepocr.book.engine_keeper import EngineKeeper
from deepocr.book.options import ReadingOptions
from deepocr.book.page_reading import CheckOptions
from deepocr.copies import Copies
from deepocr.corpus.opening import open_shard
from deepocr.corpus.options import CorpusOptions
from deepocr.corpus.reading import PartOutcome, PartReader
from deepocr.corpus.store import CorpusStore
from deepocr.documents import DocumentLimits, DocumentProcesses
from deepocr.engines.base import Engine
from deepocr.engines.scripted import Script, ScriptedEngine
from deepocr.settings import Settings
from deepocr.types import Job

SCRIPTED = Settings(engine="scripted", draw_processes=1)


def write_pdf(path: Path, num_pages: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pymupdf.open() as pdf:
        for number in range(1, num_pages + 1):
            page = pdf.new_page(width=120, height=60)
            page.insert_text((5, 30), f"{path.stem} {number}", fontsize=12)
        pdf.save(path)
    return path


def options_for(*sources: Path | str, **changes: Any) -> CorpusOptions:
    reading = ReadingOptions(Job(), dpi=72, check="none", page_timeout_s=60)
    return CorpusOptions(tuple(str(source) for source in sources), reading, **changes)


class Here:
    """Reads shards in this process; `engine` may be any, `reader` is the last one used."""

    def __init__(
        self, store: CorpusStore, options: CorpusOptions, engine: Engine | None = None
    ) -> None:
        self.store = store
        self.options = options
        self.engine = engine or ScriptedEngine(Script())

    def __call__(self, shards: Sequence[int]) -> Iterator[PartOutcome]:
        limits = DocumentLimits()
        copies = Copies(max_bytes=limits.max_bytes)
        with DocumentProcesses(
            limits, count=1, page_timeout_s=60, memory_bytes=2 << 30
        ) as processes:
            for shard in shards:
                for part in open_shard(self.store, shard, self.options, processes, copies):
                    yield asyncio.run(self._read(part.shard, part.number, processes, copies))
        copies.close()

    async def _read(
        self, shard: int, part: int, processes: DocumentProcesses, copies: Copies
    ) -> PartOutcome:
        async def start() -> Engine:
            return ScriptedEngine(Script())

        reader = PartReader(
            self.store,
            self.options,
            EngineKeeper(self.engine, start),
            processes,
            copies,
            CheckOptions(self.options.reading.check != "none"),
        )
        return await reader.read(shard, part)


def all_rows(store: CorpusStore) -> list[dict[str, Any]]:
    """Of every part that is there, timings left out."""
    listed = store.listed()
    assert listed is not None
    found = []
    for shard in range(listed.shards):
        for part in store.parts(shard):
            for row in store.rows(part) or []:
                del row["seconds"]
                found.append(row)
    return found
