"""Reads one part and commits it, in a process that has an engine."""

import asyncio
from collections import Counter
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

from deepocr.book.draw_ahead import read_drawn
from deepocr.book.engine_keeper import EngineKeeper
from deepocr.book.page_reading import (
    CheckOptions,
    Prepared,
    ReadPage,
    failed_reading,
    not_drawn,
    prepare,
    read_prepared,
)
from deepocr.copies import Copies
from deepocr.corpus.finish import finish_shard
from deepocr.corpus.options import CorpusOptions
from deepocr.corpus.places import Places
from deepocr.corpus.plan import OpenedDocument, Part
from deepocr.corpus.rows import page_row
from deepocr.corpus.store import CorpusStore
from deepocr.corpus.tries import PartTries
from deepocr.documents import Document, DocumentProcesses
from deepocr.errors import EngineError, StorageError
from deepocr.pipeline import failed_page
from deepocr.types import Dpi


@dataclass(frozen=True)
class PartOutcome:
    """The outcome of a part: its pages by status, the reasons of failures, and output tokens."""

    shard: int
    part: int
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    output_tokens: int = 0


@dataclass(frozen=True)
class Place:
    """A page of a part; `place` counts from 0 in the part."""

    place: int
    document: OpenedDocument
    number: int


class PartReader:
    """Reads parts, several at once, so that the engine stays busy between them.

    For use in one event loop. The caller owns the engine, the processes and the copies.
    """

    def __init__(
        self,
        store: CorpusStore,
        options: CorpusOptions,
        keeper: EngineKeeper,
        processes: DocumentProcesses,
        copies: Copies,
        checking: CheckOptions,
    ) -> None:
        self._store = store
        self._options = options
        self._keeper = keeper
        self._processes = processes
        self._copies = copies
        self._checking = checking
        self._places = Places(keeper.engine.capabilities.concurrency)
        self._alone = asyncio.Lock()  # taken first: only one part at a time reads a suspect

    async def read(self, shard: int, number: int) -> PartOutcome:
        """Read a part, commit it, and finish its shard if it was the last.

        A part that is already committed is not read again. Raises EngineBroken, UnsupportedTask and
        StorageError; the part is then unchanged.
        """
        part = (await asyncio.to_thread(self._store.parts, shard))[number]
        columns = ["status", "error", "output_tokens"]
        rows = await asyncio.to_thread(self._store.rows, part, columns)
        if rows is None:
            rows = await self._read_noted(part)
        if await asyncio.to_thread(self._store.is_whole, shard):
            await asyncio.to_thread(finish_shard, self._store, shard, self._options)
        return PartOutcome(
            shard,
            number,
            Counter(row["status"] for row in rows),
            Counter(row["error"] for row in rows if row["error"]),
            sum(row["output_tokens"] for row in rows),
        )

    async def _read_noted(self, part: Part) -> list[dict[str, Any]]:
        tries = await asyncio.to_thread(PartTries, self._store.folder, part)
        try:
            rows = await self._read(part, tries)
            await asyncio.to_thread(self._store.commit, part, rows)
        except BaseException:
            await asyncio.to_thread(tries.give_back)
            raise
        await asyncio.to_thread(tries.forget)
        return rows

    async def _read(self, part: Part, tries: PartTries) -> list[dict[str, Any]]:
        numbered = ((piece.document, number) for piece in part.pieces for number in piece.numbers)
        places = [Place(place, *of) for place, of in enumerate(numbered)]
        rows: dict[int, dict[str, Any]] = {}
        turn = self._places.begin()
        with _OneOpen(self._processes, self._copies, self._options.reading.dpi) as documents:

            def draw(place: Place) -> Prepared:
                lost = tries.losses[place.place]
                if lost >= self._options.tries:
                    ended = EngineError(
                        f"a process that read nothing else ended without a word, {lost} times"
                    )
                    return not_drawn(place.number, failed_page(place.number, (0, 0), ended))
                return _draw(documents, place, self._options)

            async def read(place: Place, prepared: Prepared) -> None:
                suspect = place.place in tries.losses
                async with self._places.place(turn):
                    page = await self._read_page(prepared, suspect)
                rows[place.place] = await self._row(place, prepared, page)

            jobs = self._keeper.engine.capabilities.concurrency
            for group in tries.groups(range(len(places))):
                alone = self._alone if tries.lost and len(group) == 1 else nullcontext()
                async with alone:
                    with tries.in_hand(group):
                        await read_drawn([places[place] for place in group], draw, read, jobs=jobs)
        return [rows[place.place] for place in places]

    async def _read_page(self, prepared: Prepared, suspect: bool) -> ReadPage:
        page = await self._keeper.use(
            lambda engine: read_prepared(
                engine, None, prepared, self._options.reading, self._checking
            ),
            suspect=suspect,
        )
        if page is None:
            twice = EngineError("the engine broke twice while it read this page")
            page = _failed(prepared, twice)
        return page

    async def _row(self, place: Place, prepared: Prepared, page: ReadPage) -> dict[str, Any]:
        try:
            return await asyncio.to_thread(self._make_row, place, page)
        except Exception as error:  # noqa: BLE001 - logged by failed_page
            return self._make_row(place, _failed(prepared, error))

    def _make_row(self, place: Place, page: ReadPage) -> dict[str, Any]:
        document = place.document
        name = self._keeper.engine.capabilities.engine
        job = self._options.reading.job
        row = page_row(document.document_id, document.document, page, name, job)
        return {**row, **document.carried}


def _failed(prepared: Prepared, error: Exception) -> ReadPage:
    return failed_reading(prepared, failed_page(prepared.number, (0, 0), error))


class _OneOpen:
    """Keeps one document open at a time: those of a part are drawn in order."""

    def __init__(self, processes: DocumentProcesses, copies: Copies, dpi: Dpi) -> None:
        self._processes = processes
        self._copies = copies
        self._dpi = dpi
        self._stack = ExitStack()
        self._opened: tuple[str, Document | Exception] | None = None

    def open(self, address: str, max_side_px: int | None) -> Document:
        """The document, which stays open until another one is opened. Blocking. If it cannot be
        opened, every call raises that error. Raises StorageError."""
        if self._opened is None or self._opened[0] != address:
            self.close()
            try:
                path = self._stack.enter_context(self._copies.copy(address))
                document: Document | Exception = self._stack.enter_context(
                    self._processes.open(
                        path, dpi=self._dpi, with_words=True, max_side_px=max_side_px
                    )
                )
            except StorageError:
                raise
            except Exception as error:  # noqa: BLE001 - raised for each of its pages
                document = error
            self._opened = address, document
        if isinstance(self._opened[1], Exception):
            raise self._opened[1]
        return self._opened[1]

    def close(self) -> None:
        self._stack.close()
        self._opened = None

    def __enter__(self) -> "_OneOpen":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _draw(documents: _OneOpen, place: Place, options: CorpusOptions) -> Prepared:
    try:
        document = documents.open(place.document.document, options.reading.max_side_px)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - logged by failed_page
        return not_drawn(place.number, failed_page(place.number, (0, 0), error))
    return prepare(document, place.number)
