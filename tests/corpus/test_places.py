"""Places at an engine."""

import asyncio

from deepocr.corpus.places import Places


async def test_pages_of_the_part_that_began_first_come_first() -> None:
    places, order = Places(2), list[str]()
    first, second = places.begin(), places.begin()

    async def read(name: str, turn: int) -> None:
        async with places.place(turn):
            order.append(name)
            await asyncio.sleep(0)

    await asyncio.gather(
        *(read(f"second {n}", second) for n in range(3)),
        *(read(f"first {n}", first) for n in range(3)),
    )
    assert order == ["second 0", "second 1", "first 0", "first 1", "first 2", "second 2"]


async def test_who_is_canceled_takes_no_place() -> None:
    places, turn = Places(1), 0

    async def hold(entered: asyncio.Event, leave: asyncio.Event) -> None:
        async with places.place(turn):
            entered.set()
            await leave.wait()

    entered, leave = asyncio.Event(), asyncio.Event()
    holder = asyncio.create_task(hold(entered, leave))
    await entered.wait()
    waiting = [asyncio.create_task(hold(asyncio.Event(), leave)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    leave.set()
    await asyncio.gather(holder, *waiting, return_exceptions=True)
    async with asyncio.timeout(10), places.place(turn):
        pass
