"""Pages drawn a few ahead of those that are being read."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from deepocr.allowance import Allowance
from deepocr.book.page_reading import Prepared

AHEAD = 3
"""Number of drawn pages that wait, in addition to those being read."""

PICTURE_BYTES = 256 << 20
"""Memory in bytes for the pictures of pages in progress; a larger page is processed alone."""

Place = TypeVar("Place")


async def read_drawn(
    places: Sequence[Place],
    draw: Callable[[Place], Prepared],
    read: Callable[[Place, Prepared], Awaitable[None]],
    *,
    jobs: int,
) -> None:
    """Draw pages one after the other, a few ahead, and read up to `jobs` at once.

    Memory is bounded however many pages there are. The first error stops everything and is raised.
    """
    memory = Allowance(PICTURE_BYTES)
    free, ahead = asyncio.Semaphore(jobs), asyncio.Semaphore(jobs + AHEAD)

    async def read_one(place: Place, prepared: Prepared) -> None:
        try:
            async with free:
                await read(place, prepared)
        finally:
            ahead.release()
            await memory.give(prepared.num_bytes)

    try:
        async with asyncio.TaskGroup() as group:
            for place in places:
                await ahead.acquire()
                prepared = await asyncio.to_thread(draw, place)
                await memory.take(prepared.num_bytes)
                group.create_task(read_one(place, prepared))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
