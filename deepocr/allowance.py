"""Memory that pages in work share."""

import asyncio


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
