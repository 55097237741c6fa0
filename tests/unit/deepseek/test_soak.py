"""Hundreds of pages of random presets, tasks and lengths, some canceled: none lost, none left."""

import asyncio
import gc
import random
from contextlib import aclosing
from pathlib import Path

import pytest
from PIL import Image

from deepocr.engines.deepseek.engine import DeepSeekEngine, create
from deepocr.settings import Settings
from deepocr.tasks import TASKS, make_job
from deepocr.types import Job, Page, PageDone
from tests.tiny_checkpoint import make_tiny_checkpoint

PAGES = 500
AT_ONCE = 24
PRESETS = ["tiny"] * 14 + ["small"] * 4 + ["base", "gundam"]
GROWTH_BYTES = 200 << 20


def random_page(generator: random.Random, number: int) -> Page:
    size = (generator.randint(40, 1800), generator.randint(40, 1800))
    color = tuple(generator.randrange(256) for _ in range(3))
    return Page(number, Image.new("RGB", size, color))


def random_job(generator: random.Random) -> Job:
    return make_job(
        generator.choice(list(TASKS)),
        "the title",
        generator.choice(PRESETS),
        generator.choice((1, 3, 20, 20, 60, 200)),
    )


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def read_or_cancel(
    engine: DeepSeekEngine, generator: random.Random, number: int, slots: asyncio.Semaphore
) -> str:
    async with slots:
        page, job = random_page(generator, number), random_job(generator)
        patience = generator.choice((None, None, None, None, generator.random() * 2))
        count = 0
        try:
            async with asyncio.timeout(patience), aclosing(engine.read(page, job)) as events:
                async for event in events:
                    count += 1
                    if isinstance(event, PageDone):
                        assert 0 < event.usage.output_tokens <= job.max_new_tokens
                        return "done"
                    if patience is not None and generator.random() < 0.05:
                        return "closed"
        except TimeoutError:
            return "canceled"
        raise AssertionError(f"page {number} ended without a word")


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
async def test_hundreds_of_pages_leave_nothing_behind(tmp_path: Path) -> None:
    settings = Settings(
        checkpoints=make_tiny_checkpoint(tmp_path / "tiny"),
        weights_download=False,
        dtype="fp32",
        device="cpu",
        batch=12,
        # a cache that fills up, so that pages are preempted
        kv_cache_gb=0.02,
    )
    engine = create(settings)
    generator, slots = random.Random(7), asyncio.Semaphore(AT_ONCE)
    levels, fates = [], []
    for start in range(0, PAGES, 100):
        numbers = range(start + 1, start + 101)
        fates += await asyncio.gather(
            *(read_or_cancel(engine, generator, number, slots) for number in numbers)
        )
        gc.collect()
        levels.append(resident_bytes())
    assert len(fates) == PAGES
    assert fates.count("done") > PAGES // 2
    assert fates.count("closed") + fates.count("canceled") > PAGES // 50
    reader = engine._worker.reader
    async with asyncio.timeout(60):
        while reader.num_readings:
            await asyncio.sleep(0.05)
    pool = reader.scheduler.pool
    assert (pool.used, pool.free) == (0, pool.total)
    assert reader.idle
    assert not engine._worker._requests
    assert not engine._worker._readings
    assert levels[-1] - levels[0] < GROWTH_BYTES, levels
    await engine.close()
