"""Reading documents from a program that is not async; it works in a notebook as well."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, Self, TypeVar, Unpack

from deepocr.errors import EngineError
from deepocr.library.async_reader import AnySource, Asked, AsyncReader
from deepocr.library.result import Result, ResultPage, Text
from deepocr.settings import Settings

Answer = TypeVar("Answer")


class Reader:
    """Like AsyncReader, but its methods block. Its own event loop runs in a thread, so it may be
    called from any thread, even where another loop is running."""

    def __init__(
        self, engine: str | None = None, *, environment: bool = False, **settings: Any
    ) -> None:
        """Loads the engine. Raises SettingsError and EngineError."""
        self._reader = AsyncReader(engine, environment=environment, **settings)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._streams: set[AsyncGenerator[Text | ResultPage, None]] = set()
        # a signal handler may close the reader while this thread holds the lock
        self._lock = threading.RLock()
        self._ended: Future[None] | None = None
        self._thread = threading.Thread(target=self._run, name="deepocr-reader", daemon=True)
        self._thread.start()
        try:
            self._wait(self._reader.__aenter__())
        except BaseException:
            self.close()
            raise

    @property
    def settings(self) -> Settings:
        """The settings of the reader."""
        return self._reader.settings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, source: AnySource, **asked: Unpack[Asked]) -> Result:
        """See AsyncReader.read."""
        return self._wait(self._reader.read(source, **asked))

    def stream(self, source: AnySource, **asked: Unpack[Asked]) -> Iterator[Text | ResultPage]:
        """See AsyncReader.stream."""
        events = self._reader.stream(source, **asked)
        self._streams.add(events)

        async def following() -> Text | ResultPage | None:
            return await anext(events, None)

        try:
            while (event := self._wait(following())) is not None:
                yield event
        finally:
            if not self._is_closed:  # else `close` ends it
                self._wait(events.aclose())
                self._streams.discard(events)

    def close(self) -> None:
        """End the engine and the thread; what is under way raises EngineError.

        May be called from any thread, and again: each call returns when all has ended.
        """
        with self._lock:
            if self._ended is None and self._thread.is_alive():
                self._ended = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        self._thread.join()
        if self._ended is not None:
            self._ended.result()

    @property
    def _is_closed(self) -> bool:
        with self._lock:  # `_end` may be at work before `close` has noted it
            return self._ended is not None

    async def _end(self) -> None:
        try:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
            # one after another, and before the loop's own end: that would close the generators
            # within a stream at the same time as the stream does
            for events in list(self._streams):
                await events.aclose()
            await self._reader.close()
        finally:
            self._stop.set()

    def _wait(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Wait for the work, and cancel it if interrupted (Ctrl-C). Raises EngineError if the
        reader is closed before it is done."""
        with self._lock:
            if self._is_closed or not self._thread.is_alive():
                work.close()
                raise _closed()
            future = asyncio.run_coroutine_threadsafe(self._known(work), self._loop)
        try:
            return future.result()
        except CancelledError as error:
            if not self._is_closed:
                raise
            raise _closed() from error
        except BaseException:
            future.cancel()
            raise

    async def _known(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """The work, which `_end` can cancel from its first step on."""
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await work

    def _run(self) -> None:
        # at its end it cancels what is left and waits for the loop's threads
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._stop.wait())


def _closed() -> EngineError:
    return EngineError("the reader is closed; make a new one")
