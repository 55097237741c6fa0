"""A whole run: every document of it read, page by page, and written out."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from deepocr.book import stitch
from deepocr.book.book_document import Material
from deepocr.book.draw_ahead import read_drawn
from deepocr.book.engine_keeper import EngineKeeper
from deepocr.book.inputs import InputFile, WatchedFile
from deepocr.book.options import RunOptions
from deepocr.book.outputs import write_outputs
from deepocr.book.page_reading import (
    CheckOptions,
    Prepared,
    ReadPage,
    failed_reading,
    not_drawn,
    prepare,
    read_prepared,
)
from deepocr.book.progress import ProgressLine, pages
from deepocr.book.records import PageRecord
from deepocr.book.workspace import Identity, Workspace
from deepocr.documents import Document, DocumentProcesses
from deepocr.engines.base import Engine, check_task
from deepocr.errors import (
    DeepOCRError,
    EngineBroken,
    EngineError,
    StorageError,
    UnreadableDocument,
    reason,
)
from deepocr.pipeline import failed_page
from deepocr.tasks import CHECKED_TASKS
from deepocr.types import PageStatus, Verdict

log = logging.getLogger(__name__)

SOURCE_NAME: ContextVar[str] = ContextVar("SOURCE_NAME", default="")
"""Name of the document that is being processed, for the log."""

TOGETHER = 8
"""Number of documents open at once, so that many small ones keep an engine as busy as a book."""


MAX_LOST = 2
"""Number of runs that ended while reading a page from which on the page counts as failed."""


@dataclass(eq=False)
class OpenBook:
    """A document that is being read. `error` ends this document; the others continue."""

    source: InputFile
    file: WatchedFile
    document: Document
    workspace: Workspace
    identity: Identity
    numbers: tuple[int, ...]
    counts: Counter[PageStatus] = field(default_factory=Counter)
    error: DeepOCRError | None = None

    def check(self) -> bool:
        """Whether the file is still as it was; if not, `error` says so."""
        if self.error is None:
            try:
                self.file.check()
            except UnreadableDocument as error:
                self.error = error
        return self.error is None


Place = tuple[OpenBook, int]
"""A page: its book and its number."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one document: its folder, its pages' statuses, which outputs could not be
    written, and the error that ended it."""

    source: InputFile
    folder: Path | None = None
    counts: Counter[PageStatus] = field(default_factory=Counter)
    not_written: tuple[str, ...] = ()
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    error: DeepOCRError | None = None


async def read_documents(
    keeper: EngineKeeper,
    sources: Sequence[InputFile],
    out: Path,
    options: RunOptions,
    processes: DocumentProcesses,
    reader: Engine | None = None,
) -> AsyncGenerator[Outcome, None]:
    """Read all pages that are not read yet and write each document's outputs.

    `reader` checks pages that have no text layer.

    Pages that failed in an earlier run are tried again. A problem with one document, its pages or
    its folder is reported in its Outcome and does not stop the others. Raises UnsupportedTask, and
    EngineBroken if the engine cannot be restarted, after the Outcomes of the open documents.
    However it ends, finished pages are kept.
    """
    check_task(keeper.engine.capabilities, options.reading.job)
    wanted = options.reading.check != "none" and options.reading.job.task in CHECKED_TASKS
    checking = CheckOptions(
        wanted and "text-layer" not in keeper.engine.capabilities.engine, reader
    )
    for start in range(0, len(sources), TOGETHER):
        with ExitStack() as stack:
            books = []
            for source in sources[start : start + TOGETHER]:
                try:
                    engine = keeper.engine
                    book = await asyncio.to_thread(_open, engine, source, out, options, processes)
                except Exception as error:  # noqa: BLE001 - logged by as_ours
                    yield Outcome(source, error=as_ours(error))
                    continue
                stack.enter_context(book.document)
                books.append(book)
            try:
                await _read_pages(keeper, books, options, checking)
            except EngineBroken as error:
                for book in books:
                    yield Outcome(book.source, book.workspace.folder, book.counts, error=error)
                raise
            for book in books:
                yield await asyncio.to_thread(_finish, book, options, processes)


def as_ours(error: Exception) -> DeepOCRError:
    """The error that ended one document, in a form to show to the user."""
    if isinstance(error, DeepOCRError):
        return error
    log.error("a document failed", exc_info=error)
    return DeepOCRError(reason(error))


def _open(
    engine: Engine, source: InputFile, out: Path, options: RunOptions, processes: DocumentProcesses
) -> OpenBook:
    """Blocking. Raises InvalidInput (the document or the range), WorkspaceError (the folder)."""
    SOURCE_NAME.set(source.name)
    file = WatchedFile(source.path)
    document = processes.open(
        source.path,
        dpi=options.reading.dpi,
        password=options.password,
        with_words=True,
        max_side_px=options.reading.max_side_px,
    )
    try:
        numbers = document.select(options.pages)
        identity = Identity(
            {
                "name": source.path.name,
                "bytes": file.num_bytes,
                "sha256": file.sha256,
                "pages": document.num_pages,
            },
            options.reading.identity(engine.capabilities.engine),
        )
        workspace = Workspace(out / source.name, identity, restart=options.restart)
    except BaseException:
        document.close()
        raise
    return OpenBook(source, file, document, workspace, identity, numbers)


async def _read_pages(
    keeper: EngineKeeper, books: Sequence[OpenBook], options: RunOptions, checking: CheckOptions
) -> None:
    """Read the missing pages of all the books; each is saved as soon as it is read."""
    done: Counter[PageStatus] = Counter()
    missing: list[Place] = []
    for book in books:
        statuses = await asyncio.to_thread(book.workspace.statuses, book.numbers)
        kept = {number: status for number, status in statuses.items() if status != "failed"}
        done.update(kept.values())
        book.counts.update(kept.values())
        missing += [(book, number) for number in book.numbers if number not in kept]
    if not books:
        return
    others = f" and {len(books) - 1} more" if len(books) > 1 else ""
    name = f"{books[0].source.name}{others}"

    with ProgressLine(name, len(missing) + done.total(), done) as progress:

        async def read(place: Place, prepared: Prepared) -> None:
            book, number = place
            SOURCE_NAME.set(book.source.name)
            if book.error is not None:
                return
            try:
                with book.workspace.in_hand(number):
                    page = await keeper.use(
                        lambda engine: read_prepared(
                            engine, book.document, prepared, options.reading, checking
                        )
                    )
            except StorageError as error:
                book.error = error
                return
            if page is None:
                twice = EngineError("the engine broke twice while it read this page")
                page = failed_reading(prepared, failed_page(number, (0, 0), twice))
            # a page that was drawn after the file changed must not be kept
            if await asyncio.to_thread(book.check):
                try:
                    page = await asyncio.to_thread(_keep, book.workspace, page, options)
                except StorageError as error:
                    book.error = error
                    return
                book.counts[page.record.status] += 1
                progress.page_done(page.record.status)

        # pages being read when an earlier run was killed are read before all others, one at a time
        suspects = {place: None for place in missing if place[0].workspace.lost(place[1])}
        if suspects:
            log.warning("an earlier run was killed: %s read first, alone", pages(len(suspects)))
        await read_drawn(list(suspects), _draw, read, jobs=1)
        await read_drawn([p for p in missing if p not in suspects], _draw, read, jobs=options.jobs)


def _draw(place: Place) -> Prepared:
    book, number = place
    SOURCE_NAME.set(book.source.name)
    if not book.check():
        return not_drawn(number)
    if book.workspace.lost(number) >= MAX_LOST:
        ended = EngineError(
            f"{MAX_LOST} runs ended without a word while they read this page; if they were killed "
            "for another reason, run the same command again"
        )
        return not_drawn(number, failed_page(number, (0, 0), ended))
    return prepare(book.document, number)


def _keep(workspace: Workspace, page: ReadPage, options: RunOptions) -> ReadPage:
    """Save a page; a page whose text cannot be written is saved as failed. Returns the page as it
    was saved. Blocking: its files are on the disk afterward. Raises StorageError."""
    try:
        _write(workspace, page, options)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - logged by failed_page
        result = page.record.result
        failed = failed_page(result.number, result.size_px, error)
        page = ReadPage(PageRecord(failed), (), page.seconds)
        _write(workspace, page, options)
    return page


def _write(workspace: Workspace, page: ReadPage, options: RunOptions) -> None:
    record = page.record
    task = stitch.task_of(record, options.reading.job)
    markdown = stitch.page_markdown(stitch.upright_result(record), task)
    figures = {cut.figure.file: cut.png for cut in page.figures}
    workspace.commit(record, f"{markdown}\n" if markdown else "", figures)
    workspace.note_timings(
        {
            "page": record.number,
            "kept_at": round(time.time(), 3),
            "seconds": {stage: round(seconds, 4) for stage, seconds in page.seconds.items()},
            "readings": [
                {stage: round(seconds, 4) for stage, seconds in seconds_of.items()}
                for seconds_of in page.reading_seconds
            ],
        }
    )


def _finish(book: OpenBook, options: RunOptions, processes: DocumentProcesses) -> Outcome:
    """Write the document's outputs from the pages' records. Blocking."""
    SOURCE_NAME.set(book.source.name)
    workspace = book.workspace
    if not book.check():
        return Outcome(book.source, workspace.folder, book.counts, error=book.error)

    def records() -> Iterator[PageRecord]:
        return (workspace.require(number) for number in book.numbers)

    try:
        survey = stitch.survey(book.source.name, book.identity, records)
    except Exception as error:  # noqa: BLE001 - logged by as_ours
        return Outcome(book.source, workspace.folder, book.counts, error=as_ours(error))
    source = book.file.path
    material = Material(workspace, book.document, source, survey, records, options, processes)
    not_written = write_outputs(material)
    return Outcome(book.source, workspace.folder, survey.counts, not_written, survey.verdicts)
