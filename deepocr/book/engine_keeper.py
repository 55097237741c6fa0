"""The engine of a run, started again when it broke."""

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
"""Starts of the engine after which not a single page was read, before the run is given up."""

Made = TypeVar("Made")


class EngineKeeper:
    """Gives the engine to many pages at once.

    Pages in hand when it breaks are suspects: they are read again alone, one after the other,
    before any other page. The one that breaks it a second time is at fault.
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
        """What `work` makes with the engine, or None when it broke the engine twice.

        A `suspect` is read alone from the start, and one break is enough. Raises EngineBroken when
        starting the engine again does not help.
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
                        # still in its place: or the next suspect would begin on the old engine
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
