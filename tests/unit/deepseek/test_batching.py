"""Pages in one batch write what each writes alone, whatever happens around them."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from deepocr.engines.deepseek.batching import BatchedReader
from deepocr.engines.deepseek.kv_blocks import BlockPool
from deepocr.engines.deepseek.kv_cache import BlockCache
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops.paged_attention import PlainPagedAttention, PlainPrefillAttention
from deepocr.engines.deepseek.page_in_batch import Failed, Finished, PageInBatch, Token
from deepocr.engines.deepseek.runner import Launched, Runner
from deepocr.engines.deepseek.sampling import NO_BAN, NGramBan
from deepocr.engines.deepseek.scheduler import Scheduler
from deepocr.engines.deepseek.sequence import Sequence as PlannedSequence
from deepocr.engines.deepseek.tokens import Prompt
from deepocr.engines.deepseek.vision import PreparedPage, VisionBatcher, prepare
from deepocr.errors import EngineBroken
from deepocr.parsing.loops import Alphabet, Least, LoopRule
from deepocr.tasks import find_preset
from measure.plain_sequence import PlainSequence

IMAGES = Path(__file__).parents[2] / "parity" / "data" / "images"
NO_END = -1
BLOCK = 16
BAN = NGramBan(3, 12, frozenset((7,)))


def make_reader(
    model: OcrModel,
    *,
    blocks: int = 400,
    max_sequences: int = 8,
    max_prefill_tokens: int = 1000,
    ban: NGramBan = NO_BAN,
    overlap: bool = False,
    end_id: int = NO_END,
    rule: LoopRule | None = None,
    alphabet: Alphabet | None = None,
) -> BatchedReader:
    cache = BlockCache(
        model.config.decoder, blocks, device=model.device, dtype=model.dtype, block_tokens=BLOCK
    )
    runner = Runner(
        model,
        cache,
        max_sequences=max_sequences,
        context=2048,
        ban=ban,
        paged_attention=PlainPagedAttention(),
        prefill_attention=PlainPrefillAttention(model.ops.attention),
    )
    scheduler = Scheduler(BlockPool(blocks, BLOCK), max_sequences, max_prefill_tokens)
    vision = VisionBatcher(model, 1 << 30)
    return BatchedReader(
        runner,
        scheduler,
        vision,
        end_id=end_id,
        alphabet=alphabet,
        loop_rule=rule,
        overlap=overlap,
    )


Case = tuple[Prompt, PreparedPage, int]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Pictures, presets and lengths of all kinds."""
    kinds = [
        ("tiny", "a4", 30, 5),
        ("small", "landscape", 1, 3),
        ("gundam", "landscape", 25, 2),
        ("tiny", "square", 60, 20),
        ("tiny", "wide_small", 40, 9),
        ("tiny", "landscape", 45, 40),
    ]
    found = []
    for number, (preset, image, new, suffix) in enumerate(kinds):
        with Image.open(IMAGES / f"{image}.png") as picture:
            page = prepare(picture, find_preset(preset))
        text = [10 + (number * 37 + i * i) % 900 for i in range(suffix)]
        ids = (0, *[1000] * page.num_slots, *text)
        found.append((Prompt(ids, 1, page.num_slots), page, new))
    return found


@pytest.fixture(scope="module")
def alone(tiny_model: OcrModel, cases: list[Case]) -> dict[str, list[list[int]]]:
    """What each page writes by the plain path."""
    return {
        name: [write_alone(tiny_model, case, ban) for case in cases]
        for name, ban in (("free", NO_BAN), ("ban", BAN))
    }


@torch.inference_mode()
def write_alone(model: OcrModel, case: Case, ban: NGramBan) -> list[int]:
    prompt, page, new = case
    overview = model.encode(page.overview[None].to(model.dtype))[0]
    tiles = None if page.tiles is None else model.encode(page.tiles.to(model.dtype))
    sequence = PlainSequence(model, prompt, new)
    hidden = sequence.prefill(model.fill_slots(overview, tiles, page.grid))
    return [written.token for written in sequence.write(hidden, ban, NO_END)]


@torch.inference_mode()
def run(reader: BatchedReader, limit: int = 5000) -> dict[PageInBatch, list[int]]:
    """Until idle: the tokens of each page. Blocks are counted at every step."""
    written: dict[PageInBatch, list[int]] = {}
    pool = reader.scheduler.pool
    for _ in range(limit):
        if reader.idle:
            break
        for reading, update in reader.step():
            tokens = written.setdefault(reading, [])
            if isinstance(update, Token):
                tokens.append(update.token)
                assert 0 < update.probability <= 1
        assert pool.free + pool.used == pool.total
    assert reader.idle
    assert pool.used == 0
    assert reader.num_readings == 0
    return written


def submit(reader: BatchedReader, cases: Sequence[Case]) -> list[PageInBatch]:
    return [reader.submit(*case) for case in cases]


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("ban", ["free", "ban"])
def test_a_ragged_batch_writes_what_each_page_writes_alone(
    tiny_model: OcrModel, cases: list[Case], alone: dict[str, list[list[int]]], ban: str,
    overlap: bool,
) -> None:  # fmt: skip
    reader = make_reader(tiny_model, ban=BAN if ban == "ban" else NO_BAN, overlap=overlap)
    readings = submit(reader, cases)
    written = run(reader)
    assert [written[reading] for reading in readings] == alone[ban]


@pytest.mark.parametrize("overlap", [False, True])
def test_preemption_changes_no_token(
    tiny_model: OcrModel, cases: list[Case], alone: dict[str, list[list[int]]], overlap: bool
) -> None:
    small = [0, 3, 5] * 3
    # three at a time start together and then outgrow the cache
    reader = make_reader(tiny_model, blocks=23, ban=BAN, overlap=overlap)
    readings = submit(reader, [cases[index] for index in small])
    written = run(reader)
    assert sum(reading.sequence.preemptions for reading in readings) > 0
    assert [written[reading] for reading in readings] == [alone["ban"][index] for index in small]


@pytest.mark.parametrize("overlap", [False, True])
def test_arrivals_and_cancels_at_random_change_no_token(
    tiny_model: OcrModel, cases: list[Case], alone: dict[str, list[list[int]]], overlap: bool
) -> None:
    generator = random.Random(1)
    reader = make_reader(tiny_model, max_sequences=3, overlap=overlap)
    written: dict[PageInBatch, list[int]] = {}
    of: dict[PageInBatch, int] = {}
    canceled: set[PageInBatch] = set()
    with torch.inference_mode():
        while len(of) < 14 or not reader.idle:
            if len(of) < 14 and generator.random() < 0.3:
                index = generator.choice((0, 1, 3, 5))
                of[reader.submit(*cases[index])] = index
            for reading, update in reader.step():
                assert reading not in canceled
                if isinstance(update, Token):
                    written.setdefault(reading, []).append(update.token)
            live = [reading for reading in of if reading.sequence.state.value != "finished"]
            if live and generator.random() < 0.02:
                victim = generator.choice(live)
                canceled.add(victim)
                before = reader.scheduler.pool.used
                reader.cancel(victim)
                assert reader.scheduler.pool.used <= before
    assert canceled
    assert reader.scheduler.pool.used == 0
    for reading, index in of.items():
        if reading not in canceled:
            assert written[reading] == alone["free"][index]


def test_the_end_token_ends_a_page(
    tiny_model: OcrModel, cases: list[Case], alone: dict[str, list[list[int]]]
) -> None:
    tokens = alone["free"][3]
    end = next(token for i, token in enumerate(tokens) if i > 4 and token not in tokens[:i])
    reader = make_reader(tiny_model, end_id=end, overlap=True)
    reading = reader.submit(*cases[3])
    updates = collect(reader, reading)
    assert [u.token for u in updates if isinstance(u, Token)] == tokens[: tokens.index(end) + 1]
    assert isinstance(updates[-1], Finished)
    assert updates[-1].reason == "stop"
    assert set(updates[-1].seconds) == {"queue", "vision", "prefill", "decode"}
    assert all(value >= 0 for value in updates[-1].seconds.values())


def collect(reader: BatchedReader, wanted: PageInBatch) -> list[Token | Finished | Failed]:
    found = []
    with torch.inference_mode():
        while not reader.idle:
            found += [update for reading, update in reader.step() if reading is wanted]
    return found


class Circling(Runner):
    """Writes 5, 6, 7, 5, 6, 7 ... whatever the page."""

    def decode_step(self, inputs, *on_host):  # noqa: ANN001, ANN002, ANN201
        _, probabilities = super().decode_step(inputs, *on_host)
        return 5 + inputs.written % 3, probabilities


def test_a_page_in_circles_is_stopped_and_told(tiny_model: OcrModel, cases: list[Case]) -> None:
    reader = make_reader(tiny_model, rule=LoopRule(same=Least(4, 20), check_every=8))
    reader.runner.__class__ = Circling
    prompt, page, _ = cases[0]
    updates = collect(reader, reader.submit(prompt, page, 500))
    assert isinstance(updates[-1], Finished)
    assert updates[-1].reason == "repetition"
    assert len(updates) < 40


class Counting(Runner):
    """Writes 0 - 1 - 2 - 3 ..., a number at each even length."""

    def decode_step(self, inputs, *on_host):  # noqa: ANN001, ANN002, ANN201
        _, probabilities = super().decode_step(inputs, *on_host)
        length = inputs.written
        return torch.where(length % 2 == 0, length // 2, 999), probabilities


@pytest.mark.parametrize("overlap", [False, True])
def test_a_page_that_counts_is_stopped_and_told(
    tiny_model: OcrModel, cases: list[Case], overlap: bool
) -> None:
    alphabet = Alphabet(digits={n: str(n) for n in range(900)})
    rule = LoopRule(counting_only_numbers=Least(8, 20), check_every=8)
    reader = make_reader(tiny_model, rule=rule, alphabet=alphabet, overlap=overlap)
    reader.runner.__class__ = Counting
    prompt, page, _ = cases[0]
    updates = collect(reader, reader.submit(prompt, page, 500))
    assert isinstance(updates[-1], Finished)
    assert updates[-1].reason == "repetition"
    assert len(updates) < 48


class KernelError(Exception):
    """Like Triton's: no RuntimeError."""


class Late:
    """A step that was launched and fails when its values are asked for."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def wait(self) -> None:
        raise self.error


class Failing(Runner):
    """Fails whenever one page takes part, and runs out of memory on demand."""

    bad: PlannedSequence | None = None
    error: Exception = RuntimeError("this page breaks the device")
    late = False
    gone = False
    out_of_memory = 0
    lack: Exception = torch.OutOfMemoryError("no memory")
    most = 99

    def _check(self, sequences: Sequence[PlannedSequence]) -> None:
        if self.bad in sequences:
            raise self.error
        if self.out_of_memory and len(sequences) > self.most:
            self.out_of_memory -= 1
            raise self.lack

    def probe(self) -> None:
        if self.gone:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        super().probe()

    def prefill(
        self, sequences: Sequence[PlannedSequence], features: Sequence[torch.Tensor]
    ) -> Launched:
        self._check(sequences)
        return super().prefill(sequences, features)

    def decode(self, sequences: Sequence[PlannedSequence]) -> Launched:
        if self.late and self.bad in sequences:
            return Late(self.error)  # type: ignore[return-value]
        self._check(sequences)
        return super().decode(sequences)


class Numberless(Runner):
    """The features of one page are no numbers."""

    bad: PlannedSequence | None = None

    def prefill(
        self, sequences: Sequence[PlannedSequence], features: Sequence[torch.Tensor]
    ) -> Launched:
        pairs = zip(sequences, features, strict=True)
        return super().prefill(
            sequences, [slots * torch.nan if s is self.bad else slots for s, slots in pairs]
        )


@pytest.mark.parametrize("overlap", [False, True])
def test_a_page_without_numbers_is_failed_and_leaves_nothing_behind(
    tiny_model: OcrModel, cases: list[Case], alone: dict[str, list[list[int]]], overlap: bool
) -> None:
    reader = make_reader(tiny_model, overlap=overlap)
    reader.runner.__class__ = Numberless
    assert isinstance(reader.runner, Numberless)
    small = [0, 1, 3]
    readings = submit(reader, [cases[index] for index in small])
    reader.runner.bad = readings[-1].sequence
    written: dict[PageInBatch, list[int]] = {reading: [] for reading in readings}
    failed = []
    with torch.inference_mode():
        while not reader.idle:
            for reading, update in reader.step():
                if isinstance(update, Token):
                    written[reading].append(update.token)
                if isinstance(update, Failed):
                    failed.append((reading, str(update.error)))
    assert [reading for reading, _ in failed] == [readings[-1]]
    assert "NaN" in failed[0][1]
    for index, reading in zip(small[:-1], readings[:-1], strict=True):
        assert written[reading] == alone["free"][index]
    assert not reader.runner.cache.blocks.isnan().any()


def failing_reader(model: OcrModel, overlap: bool) -> tuple[BatchedReader, Failing]:
    reader = make_reader(model, overlap=overlap)
    reader.runner.__class__ = Failing
    assert isinstance(reader.runner, Failing)
    return reader, reader.runner


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize(
    ("when", "late", "error"),
    [(0, False, RuntimeError), (10, False, KernelError), (10, True, KernelError)],
)
def test_an_error_in_one_page_touches_no_other(
    tiny_model: OcrModel, cases: list[Case], alone: dict[str, list[list[int]]], overlap: bool,
    when: int, late: bool, error: type[Exception],
) -> None:  # fmt: skip
    reader, runner = failing_reader(tiny_model, overlap)
    runner.error, runner.late = error("this page breaks the device"), late
    small = [0, 1, 3, 4, 5]
    readings = submit(reader, [cases[index] for index in small])
    failed = []
    written: dict[PageInBatch, list[int]] = {reading: [] for reading in readings}
    with torch.inference_mode():
        steps = 0
        while not reader.idle:
            if steps == when:
                runner.bad = readings[-1].sequence
            steps += 1
            for reading, update in reader.step():
                if isinstance(update, Token):
                    written[reading].append(update.token)
                if isinstance(update, Failed):
                    failed.append((reading, str(update.error)))
    why = "the page cannot be read; an internal error: this page breaks the device"
    assert failed == [(readings[-1], why)]
    for index, reading in zip(small[:-1], readings[:-1], strict=True):
        assert written[reading] == alone["free"][index]
    assert reader.scheduler.pool.used == 0


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("most", [1, 2])
def test_out_of_memory_makes_smaller_steps_and_loses_nothing(
    tiny_model: OcrModel, cases: list[Case], alone: dict[str, list[list[int]]], overlap: bool,
    most: int,
) -> None:  # fmt: skip
    reader, runner = failing_reader(tiny_model, overlap)
    runner.out_of_memory, runner.most = 1000, most
    small = [0, 3, 5, 1]
    readings = submit(reader, [cases[index] for index in small])
    written = run(reader)
    assert [written[reading] for reading in readings] == [alone["free"][index] for index in small]


def test_a_page_that_never_fits_fails_alone(
    tiny_model: OcrModel, cases: list[Case], alone: dict[str, list[list[int]]]
) -> None:
    reader, runner = failing_reader(tiny_model, overlap=False)
    runner.out_of_memory, runner.most = 1000, 0
    updates = collect(reader, reader.submit(*cases[0]))
    assert len(updates) == 1
    assert isinstance(updates[0], Failed)
    runner.out_of_memory = 0
    reading = reader.submit(*cases[0])
    assert run(reader)[reading] == alone["free"][0]


@pytest.mark.parametrize(
    "lack",
    [
        torch.OutOfMemoryError("no memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_memory_that_stays_short_breaks_the_engine(
    tiny_model: OcrModel, cases: list[Case], lack: Exception
) -> None:
    reader, runner = failing_reader(tiny_model, overlap=False)
    runner.lack = lack
    runner.out_of_memory, runner.most = 1000, 0
    collect(reader, reader.submit(*cases[0]))
    with pytest.raises(EngineBroken, match="stays out of memory"):
        collect(reader, reader.submit(*cases[3]))


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_a_device_that_is_gone_breaks_the_engine(
    tiny_model: OcrModel, cases: list[Case], overlap: bool, late: bool
) -> None:
    reader, runner = failing_reader(tiny_model, overlap)
    readings = submit(reader, [cases[0], cases[3]])
    with torch.inference_mode():
        for _ in range(10):
            reader.step()
        runner.bad, runner.gone, runner.late = readings[0].sequence, True, late
        with pytest.raises(EngineBroken, match="the device fails"):
            run(reader)


@pytest.mark.parametrize("error", [KernelError("no such kernel"), RuntimeError("bad view")])
def test_a_picture_that_cannot_be_encoded_fails_alone(
    tiny_model: OcrModel, cases: list[Case], alone: dict[str, list[list[int]]],
    monkeypatch: pytest.MonkeyPatch, error: Exception,
) -> None:  # fmt: skip
    reader = make_reader(tiny_model)
    encode, bad = reader.vision.encode, cases[3][1]

    def failing(pages: Sequence[PreparedPage]) -> list[torch.Tensor]:
        if bad in pages:
            raise error
        return encode(pages)

    monkeypatch.setattr(reader.vision, "encode", failing)
    readings = submit(reader, [cases[index] for index in (0, 3, 5)])
    failed = []
    written: dict[PageInBatch, list[int]] = {reading: [] for reading in readings}
    with torch.inference_mode():
        while not reader.idle:
            for reading, update in reader.step():
                if isinstance(update, Token):
                    written[reading].append(update.token)
                failed += [reading] if isinstance(update, Failed) else []
    assert failed == [readings[1]]
    assert written[readings[0]] == alone["free"][0]
    assert written[readings[2]] == alone["free"][5]
    assert reader.scheduler.pool.used == 0


def test_vision_runs_views_of_one_side_together(tiny_model: OcrModel, cases: list[Case]) -> None:
    batcher = VisionBatcher(tiny_model, 1 << 40)
    shapes = []
    encode = tiny_model.encode

    def counting(pixels: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(pixels.shape))
        return encode(pixels)

    pages = [page for _, page, _ in cases]
    with torch.inference_mode():
        tiny_model.encode = counting  # type: ignore[method-assign]
        try:
            together = batcher.encode(pages)
            assert len({shape[-1] for shape in shapes}) == len(shapes) < len(pages)
            batcher.budget_bytes = 1
            shapes.clear()
            one_by_one = batcher.encode(pages)
            assert all(shape[0] == 1 for shape in shapes)
        finally:
            tiny_model.encode = encode  # type: ignore[method-assign]
    for a, b, page in zip(together, one_by_one, pages, strict=True):
        assert a.shape[0] == page.num_slots
        assert ((a - b).norm() / b.norm()).item() < 1e-5
