"""Pictures are encoded beside the decoder, which goes on; cancels and faults are heeded."""

from collections.abc import Sequence
from concurrent.futures import Future

import pytest
import torch
from torch import Tensor

from deepocr.engines.deepseek.batching import BatchedReader
from deepocr.engines.deepseek.kv_blocks import BlockPool
from deepocr.engines.deepseek.kv_cache import BlockCache
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops.paged_attention import PlainPagedAttention, PlainPrefillAttention
from deepocr.engines.deepseek.page_in_batch import Failed, Finished, PageInBatch, Token, Update
from deepocr.engines.deepseek.runner import Runner
from deepocr.engines.deepseek.sampling import NO_BAN
from deepocr.engines.deepseek.scheduler import Scheduler
from deepocr.engines.deepseek.tokens import Prompt
from deepocr.engines.deepseek.vision import PreparedPage, VisionBatcher

SLOTS = 73


class SlowVision(VisionBatcher):
    """Encodes when it is told to."""

    def __init__(self, model: OcrModel) -> None:
        super().__init__(model, 1 << 30)
        self.started: list[tuple[Sequence[PreparedPage], Future[list[Tensor]]]] = []

    def start(self, pages: Sequence[PreparedPage]) -> "Future[list[Tensor]]":
        self.started.append((pages, Future()))
        return self.started[-1][1]

    def finish(self) -> None:
        """What was started last."""
        pages, future = self.started[-1]
        hidden = self.model.config.decoder.hidden_size
        future.set_result([torch.randn(SLOTS, hidden) for _ in pages])


@pytest.fixture(params=[False, True], ids=["in turns", "overlap"])
def reader(tiny_model: OcrModel, request: pytest.FixtureRequest) -> BatchedReader:
    cache = BlockCache(
        tiny_model.config.decoder, 60, device=torch.device("cpu"), dtype=torch.float32,
        block_tokens=16,
    )  # fmt: skip
    runner = Runner(
        tiny_model,
        cache,
        max_sequences=4,
        context=256,
        ban=NO_BAN,
        paged_attention=PlainPagedAttention(),
        prefill_attention=PlainPrefillAttention(tiny_model.ops.attention),
    )
    return BatchedReader(
        runner,
        Scheduler(BlockPool(60, 16), 4, 1000),
        SlowVision(tiny_model),
        end_id=-1,
        overlap=request.param,
    )


def submit(reader: BatchedReader, new: int) -> PageInBatch:
    page = PreparedPage(torch.zeros(3, 512, 512, dtype=torch.bfloat16), None, (1, 1), SLOTS)
    return reader.submit(Prompt((0, *[1000] * SLOTS, 5), 1, SLOTS), page, new)


@torch.inference_mode()
def steps(reader: BatchedReader, count: int) -> list[tuple[PageInBatch, Update]]:
    return [update for _ in range(count) for update in reader.step()]


def tokens(updates: list[tuple[PageInBatch, Update]], reading: PageInBatch) -> int:
    return sum(one is reading and isinstance(update, Token) for one, update in updates)


def vision(reader: BatchedReader) -> SlowVision:
    assert isinstance(reader.vision, SlowVision)
    return reader.vision


def test_a_page_is_written_while_the_next_is_encoded(reader: BatchedReader) -> None:
    first = submit(reader, 60)
    assert steps(reader, 2) == []
    vision(reader).finish()
    steps(reader, 2)
    second, third = submit(reader, 8), submit(reader, 8)
    meanwhile = steps(reader, 12)
    assert tokens(meanwhile, first) >= 8
    # one group at a time; both pages came before it was begun
    assert [len(pages) for pages, _ in vision(reader).started] == [1, 2]
    assert tokens(meanwhile, second) == tokens(meanwhile, third) == 0
    vision(reader).finish()
    rest = steps(reader, 80)
    assert [tokens(rest, reading) for reading in (second, third)] == [8, 8]
    assert reader.idle
    assert reader.scheduler.pool.used == 0


def test_a_page_canceled_while_it_is_encoded_leaves_nothing(reader: BatchedReader) -> None:
    canceled, other = submit(reader, 4), submit(reader, 4)
    steps(reader, 1)
    reader.cancel(canceled)
    vision(reader).finish()
    updates = steps(reader, 20)
    assert {reading for reading, _ in updates} == {other}
    assert isinstance(updates[-1][1], Finished)
    assert canceled.features is None
    assert reader.idle


def test_a_fault_of_the_encoder_is_that_of_one_page(reader: BatchedReader) -> None:
    readings = [submit(reader, 2) for _ in range(3)]
    bad = readings[1].page
    updates = []
    for _ in range(30):
        updates += steps(reader, 1)
        pages, future = vision(reader).started[-1]
        if not future.done() and bad in pages:
            future.set_exception(ValueError("bad view"))
        elif not future.done():
            vision(reader).finish()
    ends = {reading: update for reading, update in updates if not isinstance(update, Token)}
    assert isinstance(ends[readings[1]], Failed)
    assert all(isinstance(ends[readings[index]], Finished) for index in (0, 2))
    assert reader.idle
