"""The engine of a run, which is restarted when it breaks."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from deepocr.engines.base import Engine
from deepocr.errors import EngineBroken, EngineError, reason

log = logging.getLogger(__name__)

MAX_IN_VAIN = 2
"""Most restarts of the engine in a row without a single page read; then the run is given up."""

Made = TypeVar("Made")


class EngineKeeper:
    """Shares the engine among many pages at once.

    Pages being read when it breaks are suspects: they are read again alone, one after another,
    before any other page. A page that breaks it a second time is at fault.
    """

    def __init__(self, engine: Engine, start: Callable[[], Awaitable[Engine]]) -> None:
        self.engine = engine
        self._start = start
        self._starting = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._running = 0
        self._suspects = 0
        self._in_vain = 0

    async def use(
        self, work: Callable[[Engine], Awaitable[Made]], *, suspect: bool = False
    ) -> Made | None:
        """The result of `work` with the engine, or None if it broke the engine twice.

        A `suspect` is read alone from the start, and one break is enough. Raises EngineBroken if
        restarting the engine does not help.
        """
        if suspect:
            self._suspects += 1
        try:
            while True:
                async with self._place(alone=suspect):
                    engine = self.engine
                    try:
                        made = await work(engine)
                    except EngineBroken as error:
                        if not suspect:
                            self._suspects += 1
                        # while it holds its place, or the next suspect would begin on the broken
                        # engine
                        await self._start_again(engine, error)
                    else:
                        self._in_vain = 0
                        return made
                if suspect:
                    return None
                suspect = True
        finally:
            if suspect:
                async with self._changed:
                    self._suspects -= 1
                    self._changed.notify_all()

    async def close(self) -> None:
        await self.engine.close()

    @asynccontextmanager
    async def _place(self, *, alone: bool) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._running if alone else not self._suspects)
            self._running += 1
        try:
            yield
        finally:
            # no await: a canceled page must give its place back
            self._running -= 1
            await asyncio.shield(self._tell())

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _start_again(self, broken: Engine, error: EngineBroken) -> None:
        async with self._starting:
            if self.engine is not broken:
                return
            self._in_vain += 1
            if self._in_vain > MAX_IN_VAIN:
                raise error
            log.warning("%s; the engine is started again", error)
            with contextlib.suppress(EngineError):
                await broken.close()
            try:
                self.engine = await self._start()
            except EngineError as failure:
                raise EngineBroken(
                    f"the engine broke and cannot be started again: {reason(failure)}"
                ) from failure
