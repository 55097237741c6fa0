"""A whole run: every document of it read, page by page, and written out."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepocr.book import stitch
from deepocr.book.inputs import Source, SourceFile
from deepocr.book.options import Options
from deepocr.book.outputs import Material, write_outputs
from deepocr.book.progress import Progress
from deepocr.book.reading import Prepared, ReadPage, prepare, read_prepared
from deepocr.book.records import PageRecord
from deepocr.book.workspace import Identity, Workspace
from deepocr.documents import Document, Limits, open_document
from deepocr.engines.base import Engine, check_task
from deepocr.types import PageStatus

log = logging.getLogger(__name__)

AHEAD = 3
"""Pages drawn and waiting, beside those being read."""

PICTURE_BYTES = 256 << 20
"""Memory for the pictures of pages in work; a page larger than that is worked on alone."""


@dataclass(frozen=True)
class Outcome:
    """What became of one document."""

    folder: Path
    counts: Counter[PageStatus]


async def read_document(
    engine: Engine, source: Source, out: Path, options: Options, limits: Limits
) -> Outcome:
    """Read what is not read yet, then write the document.

    Pages that failed in an earlier run are tried again. Raises InvalidInput (the document or the
    page range), WorkspaceError (the folder), EngineError (the engine is gone). Whatever ends it,
    pages that are done stay done.
    """
    check_task(engine.capabilities, options.reading.job)
    file = await asyncio.to_thread(SourceFile, source.path)
    document = await asyncio.to_thread(
        open_document,
        source.path,
        limits,
        options.reading.dpi,
        options.password,
        with_words=True,
        max_side_px=options.reading.max_side_px,
    )
    with document:
        numbers = document.select(options.pages)
        identity = _identity(engine, file, document, options)
        workspace = Workspace(out / source.name, identity, restart=options.restart)
        await _read_pages(engine, document, file, workspace, numbers, options)
        file.check()
        counts = await asyncio.to_thread(
            _write, workspace, document, file, identity, numbers, options
        )
    return Outcome(workspace.folder, counts)


def _identity(engine: Engine, file: SourceFile, document: Document, options: Options) -> Identity:
    source = {
        "name": file.path.name,
        "bytes": file.num_bytes,
        "sha256": file.sha256,
        "pages": document.num_pages,
    }
    return Identity(source, options.reading.identity(engine.capabilities.engine))


async def _read_pages(
    engine: Engine,
    document: Document,
    file: SourceFile,
    workspace: Workspace,
    numbers: tuple[int, ...],
    options: Options,
) -> None:
    """Those pages that are not done, each kept as soon as it is read."""
    done = await asyncio.to_thread(workspace.statuses, numbers)
    done = {number: status for number, status in done.items() if status != "failed"}
    missing = [number for number in numbers if number not in done]
    name = workspace.folder.name

    with Progress(name, len(numbers), Counter(done.values())) as progress:

        async def read(prepared: Prepared) -> None:
            job, most = options.reading.job, options.reading.max_readings
            page = await read_prepared(engine, document, prepared, job, most)
            await asyncio.to_thread(_keep, workspace, page, options)
            progress.page_done(page.record.status)

        def draw(number: int) -> Prepared:
            file.check()
            return prepare(document, number)

        await stream(missing, draw, read, jobs=options.jobs)


async def stream(
    numbers: Sequence[int],
    draw: Callable[[int], Prepared],
    read: Callable[[Prepared], Awaitable[None]],
    *,
    jobs: int,
) -> None:
    """Draw pages one after the other, a few ahead, and read up to `jobs` at once.

    Memory is bounded by the pages in work, whatever their number. The first error ends it all.
    """
    drawn: asyncio.Queue[Prepared | None] = asyncio.Queue(AHEAD)
    memory = Allowance(PICTURE_BYTES)

    async def draw_all() -> None:
        for number in numbers:
            prepared = await asyncio.to_thread(draw, number)
            await memory.take(prepared.num_bytes)
            await drawn.put(prepared)
        await drawn.put(None)

    async def read_many() -> None:
        while (prepared := await drawn.get()) is not None:
            try:
                await read(prepared)
            finally:
                await memory.give(prepared.num_bytes)
        # the end is for every reader: hand it on
        await drawn.put(None)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(draw_all())
            for _ in range(min(jobs, max(1, len(numbers)))):
                group.create_task(read_many())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


class Allowance:
    """An amount that is shared; who wants more than there is at all gets it alone."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._taken = 0
        self._changed = asyncio.Condition()

    async def take(self, amount: int) -> None:
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._taken == 0 or self._taken + amount <= self._total
            )
            self._taken += amount

    async def give(self, amount: int) -> None:
        async with self._changed:
            self._taken -= amount
            self._changed.notify_all()


def _keep(workspace: Workspace, page: ReadPage, options: Options) -> None:
    """Blocking: the page's files are on the disk when it returns."""
    record = page.record
    task = stitch.task_of(record, options.reading.job)
    markdown = stitch.page_markdown(stitch.upright_result(record), task)
    figures = {cut.figure.file: cut.png for cut in page.figures}
    workspace.commit(record, f"{markdown}\n" if markdown else "", figures)
    workspace.note_timings(
        {
            "page": record.number,
            "seconds": {stage: round(seconds, 4) for stage, seconds in page.seconds.items()},
            "readings": [
                {stage: round(seconds, 4) for stage, seconds in seconds_of.items()}
                for seconds_of in page.reading_seconds
            ],
        }
    )


def _write(
    workspace: Workspace,
    document: Document,
    file: SourceFile,
    identity: Identity,
    numbers: tuple[int, ...],
    options: Options,
) -> Counter[PageStatus]:
    """The document's own files, from the pages' records. Blocking."""

    def records() -> Iterator[PageRecord]:
        return (workspace.require(number) for number in numbers)

    engine = str(identity.reading["engine"])
    book = stitch.survey(workspace.folder.name, engine, identity.source, records)
    stitch.write_markdown(workspace.folder / "document.mmd", book, records, options)
    stitch.write_json(workspace.folder / "document.json", book, records, options)
    write_outputs(Material(workspace, document, file.path, book, records, options))
    return book.counts
