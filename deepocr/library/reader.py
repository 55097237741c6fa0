"""Reading documents from a program that is not async; it works in a notebook as well."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
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
        self._thread = threading.Thread(
            target=_run, args=(self._loop,), name="deepocr-reader", daemon=True
        )
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

        async def following() -> Text | ResultPage | None:
            return await anext(events, None)

        try:
            while (event := self._wait(following())) is not None:
                yield event
        finally:
            self._wait(events.aclose())

    def close(self) -> None:
        """End the engine and the thread; a second call does nothing."""
        if self._thread.is_alive():
            self._wait(self._reader.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _wait(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Wait for the work, and cancel it if interrupted (Ctrl-C)."""
        if not self._thread.is_alive():
            work.close()
            raise EngineError("the reader is closed; make a new one")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
