"""Reading documents from an async program."""

import asyncio
import io
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

from PIL import Image

from deepocr.check.beside import Checking
from deepocr.documents import Document, DocumentProcesses, Limits
from deepocr.documents.document import check_size
from deepocr.engines.base import Engine
from deepocr.engines.registry import best_here, create_engine
from deepocr.errors import EngineError, InvalidInput, UnreadableDocument, reason
from deepocr.library.result import Result, ResultPage, Source, Text
from deepocr.pipeline import read_document, read_pages
from deepocr.settings import make_settings
from deepocr.tasks import DEFAULT_NEW_TOKENS, make_job, refuse_unchecked_task
from deepocr.types import Event, Job, PageResult, TextDelta

AnySource = str | PathLike[str] | bytes | Image.Image
"""What a reader reads: a file's path, its content, or a picture."""


class Asked(TypedDict, total=False):
    """The options of a reading. `task` and `resolution` are titles or short names."""

    pages: str | int | None
    password: str | None
    task: str
    reference_text: str
    resolution: str
    max_new_tokens: int
    check: bool


@dataclass(frozen=True)
class _Request:
    job: Job
    pages: str = ""
    password: str = ""
    check: bool = False


@dataclass(frozen=True)
class _Ready:
    engine: Engine
    processes: DocumentProcesses
    checking: Checking


class AsyncReader:
    """Reads documents with one engine, many at once if asked to.

    `engine` is ppocr, deepseek or remote; by default, the engine that suits this machine. Settings
    are arguments, named like the DEEPOCR_ variables in the README; the variables themselves are
    read only with `environment=True`. Use it in an `async with`, or close it.
    """

    def __init__(
        self, engine: str | None = None, *, environment: bool = False, **settings: Any
    ) -> None:
        """Raises SettingsError; EngineUnavailable if no engine is named and none is available."""
        if engine is not None:
            settings["engine"] = engine
        self.settings = make_settings(environment, **settings)
        if "engine" not in self.settings.model_fields_set:
            self.settings = self.settings.model_copy(update={"engine": best_here()[0]})
        self._starting: asyncio.Task[_Ready] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        try:
            await self._ready()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def read(self, source: AnySource, **asked: Unpack[Asked]) -> Result:
        """Read the whole document. A page that failed is included, with the reason.

        Raises InvalidInput (the document or the options), and EngineError if not a single page
        could be read or the engine cannot be loaded.
        """
        request = _request(**asked)
        content, name = await asyncio.to_thread(_content, source, self.settings)
        ready = await self._ready()
        async with self._opened(ready, content, request) as document:
            found = await read_document(
                ready.engine,
                document,
                document.select(request.pages),
                request.job,
                window=self.settings.page_window,
                name=name,
                also=ready.checking.checked if request.check else None,
            )
        return Result(
            name,
            found.engine,
            found.job,
            tuple(ResultPage.of(page, found.job.task) for page in found.pages),
            Source(content, request.password, self.settings, document.kind != "picture"),
        )

    async def stream(
        self, source: AnySource, **asked: Unpack[Asked]
    ) -> AsyncGenerator[Text | ResultPage, None]:
        """Yields text as it is written, and each page when it is finished.

        Pages come in order; several are read at once, so their texts come mixed, each with its
        page. Close the iterator to stop. Raises as `read` does, but not for pages that failed.
        """
        request = _request(**asked)
        content, _ = await asyncio.to_thread(_content, source, self.settings)
        ready = await self._ready()
        said: deque[Text] = deque()
        something = asyncio.Event()

        def listen(number: int, event: Event) -> None:
            if isinstance(event, TextDelta) and event.text:
                said.append(Text(number, event.text))
                something.set()

        async with self._opened(ready, content, request) as document:
            pages = read_pages(
                ready.engine,
                document,
                document.select(request.pages),
                request.job,
                window=self.settings.page_window,
                listener=listen,
                also=ready.checking.checked if request.check else None,
            )
            next_page = asyncio.create_task(_next(pages))
            next_page.add_done_callback(lambda _: something.set())
            try:
                while True:
                    await something.wait()
                    something.clear()
                    while said:
                        yield said.popleft()
                    if not next_page.done():
                        continue
                    page = next_page.result()
                    if page is None:
                        return
                    yield ResultPage.of(page, request.job.task)
                    next_page = asyncio.create_task(_next(pages))
                    next_page.add_done_callback(lambda _: something.set())
            finally:
                next_page.cancel()
                await asyncio.gather(next_page, return_exceptions=True)
                await pages.aclose()

    async def close(self) -> None:
        """End the engine and what draws pages; a second call does nothing."""
        self._closed = True
        starting, self._starting = self._starting, None
        if starting is None:
            return
        (ready,) = await asyncio.gather(starting, return_exceptions=True)
        if isinstance(ready, _Ready):
            ready.processes.close()
            await ready.checking.close()
            await ready.engine.close()

    async def _ready(self) -> _Ready:
        """The engine, loaded by the first call. After a failure, the next call tries again."""
        if self._closed:
            raise EngineError("the reader is closed; make a new one")
        if self._starting is None or (
            self._starting.done() and self._starting.exception() is not None
        ):
            self._starting = asyncio.create_task(self._start())
        # shielded: the reading that loads it may be canceled
        return await asyncio.shield(self._starting)

    async def _start(self) -> _Ready:
        engine = await asyncio.to_thread(create_engine, self.settings)
        processes = DocumentProcesses.of(self.settings)
        return _Ready(engine, processes, Checking(engine, self.settings))

    @asynccontextmanager
    async def _opened(
        self, ready: _Ready, content: bytes | Path, request: _Request
    ) -> AsyncIterator[Document]:
        document = await asyncio.to_thread(
            ready.processes.open,
            content,
            dpi=self.settings.dpi,
            password=request.password,
            with_words=request.check or self.settings.ppocr_text_layer,
        )
        with document:
            yield document


def _request(
    *,
    pages: str | int | None = None,
    password: str | None = None,
    task: str = "markdown",
    reference_text: str = "",
    resolution: str = "gundam",
    max_new_tokens: int = DEFAULT_NEW_TOKENS,
    check: bool = False,
) -> _Request:
    """Raises InvalidInput."""
    job = make_job(task, reference_text, resolution, max_new_tokens, may_join_pages=True)
    if check:
        refuse_unchecked_task(job)
    if isinstance(pages, int):
        pages = str(pages)
    if not isinstance(pages, str | None):
        raise InvalidInput(f"pages is {pages!r}; give a page's number or text such as '1-3,7'")
    if not isinstance(password, str | None):
        raise InvalidInput(f"the password is of type {type(password).__name__}; give text")
    return _Request(job, pages or "", password or "", check)


def _content(source: AnySource, limits: Limits) -> tuple[bytes | Path, str]:
    """The document to open, and its name. Blocking. Raises InvalidInput."""
    if isinstance(source, bytes):
        return source, ""
    if isinstance(source, Image.Image):
        return _png_of(source, limits), ""
    if not isinstance(source, str | PathLike):
        raise InvalidInput(
            f"a document is a path, bytes or a PIL picture, not {type(source).__name__}"
        )
    path = Path(os.fsdecode(source))
    # not Path.is_file, which raises for a name that is too long
    if not os.path.isfile(path):  # noqa: PTH113
        raise InvalidInput(f"{str(path)[:200]!r} is no file; check the path")
    return path, path.name


def _png_of(picture: Image.Image, limits: Limits) -> bytes:
    """Raises DocumentTooLarge before the pixels are decoded, and UnreadableDocument."""
    check_size("the picture", *picture.size, limits)
    file = io.BytesIO()
    try:
        picture.convert("RGB").save(file, "PNG", compress_level=1)
    except Exception as error:  # Pillow's decoders raise nearly anything
        raise UnreadableDocument(
            f"the picture is damaged, closed or of a kind that cannot be decoded ({reason(error)}"
            "); open it again, or give its file"
        ) from error
    return file.getvalue()


async def _next(pages: AsyncGenerator[PageResult, None]) -> PageResult | None:
    return await anext(pages, None)
