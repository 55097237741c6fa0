"""Limits how many pages an engine reads at once, across parts."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Places:
    """Lets `count` pages be read at once. Of the waiting pages, those of the part that began first
    come first, so that parts end one after another, and there is always a part whose pages are
    drawn and waiting.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def begin(self) -> int:
        """Returns a new part's turn; lower turns come first."""
        return next(self._numbers)

    @asynccontextmanager
    async def place(self, turn: int) -> AsyncIterator[None]:
        if self._free:
            self._free -= 1
        else:
            given = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (turn, next(self._numbers), given))
            try:
                await given
            except asyncio.CancelledError:
                if given.done() and not given.cancelled():
                    self._give_back()
                raise
        try:
            yield
        finally:
            self._give_back()

    def _give_back(self) -> None:
        while self._waiting:
            _, _, given = heapq.heappop(self._waiting)
            if not given.done():
                given.set_result(None)
                return
        self._free += 1
