"""The batched engine on CUDA, graphs and overlap included, against the plain path."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from deepocr.engines.deepseek.batching import BatchedReader
from deepocr.engines.deepseek.build import make_reader
from deepocr.engines.deepseek.checkpoint import SafetensorsFolder, load_model
from deepocr.engines.deepseek.config import read_config
from deepocr.engines.deepseek.graphs import GraphRunner
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import plain_ops
from deepocr.engines.deepseek.ops.choice import FastOps, choose_ops
from deepocr.engines.deepseek.page_in_batch import PageInBatch, Token
from deepocr.engines.deepseek.runner import Runner
from deepocr.engines.deepseek.sampling import NGramBan
from deepocr.engines.deepseek.tokens import Prompt
from deepocr.engines.deepseek.vision import PreparedPage, prepare
from deepocr.tasks import find_preset
from measure.plain_sequence import PlainSequence
from tests.tiny_checkpoint import DATA

BAN = NGramBan(3, 12, frozenset((7,)))
NO_END = -1
BLOCKS = 64

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

Case = tuple[Prompt, PreparedPage, int]


def load(ops: FastOps | None) -> OcrModel:
    """The tiny model in float32, where only rounding differs between the two paths."""
    return load_model(
        read_config(DATA / "tiny"),
        SafetensorsFolder(DATA / "tiny"),
        ops.network if ops else plain_ops(),
        device=torch.device("cuda"),
        dtype=torch.float32,
    )


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    found = []
    for number, (preset, image, new) in enumerate(
        [
            ("tiny", "a4", 40),
            ("gundam", "landscape", 70),
            ("small", "square", 3),
            ("tiny", "a4", 90),
        ]
    ):
        with Image.open(DATA / "images" / f"{image}.png") as picture:
            page = prepare(picture, find_preset(preset))
        ids = (0, *[1000] * page.num_slots, 20 + number, 5, 6)
        found.append((Prompt(ids, 1, page.num_slots), page, new))
    return found


@pytest.fixture(scope="module")
def alone(cases: list[Case]) -> list[list[int]]:
    model, found = load(None), []
    with torch.inference_mode():
        for prompt, page, new in cases:
            overview = model.encode(page.overview[None].to("cuda", torch.float32))[0]
            tiles = None
            if page.tiles is not None:
                tiles = model.encode(page.tiles.to("cuda", torch.float32))
            sequence = PlainSequence(model, prompt, new)
            hidden = sequence.prefill(model.fill_slots(overview, tiles, page.grid))
            found.append([written.token for written in sequence.write(hidden, BAN, NO_END)])
    return found


def reader_with(ops: FastOps, max_sequences: int) -> BatchedReader:
    return make_reader(
        load(ops), ops, ban=BAN, end_id=NO_END, max_sequences=max_sequences, num_blocks=BLOCKS
    )


@torch.inference_mode()
def run(reader: BatchedReader) -> dict[PageInBatch, list[int]]:
    written: dict[PageInBatch, list[int]] = {}
    while not reader.idle:
        for reading, update in reader.step():
            if isinstance(update, Token):
                written.setdefault(reading, []).append(update.token)
    assert reader.scheduler.pool.used == 0
    return written


@pytest.mark.parametrize("max_sequences", [1, 3, 8])
def test_graphs_write_what_each_page_writes_alone(
    cases: list[Case], alone: list[list[int]], max_sequences: int
) -> None:
    ops = choose_ops(read_config(DATA / "tiny"), torch.device("cuda"), torch.float32)
    assert ops.graphs, "Triton is missing"
    reader = reader_with(ops, max_sequences)
    assert isinstance(reader.runner, GraphRunner)
    assert reader.overlap
    for _ in range(2):
        readings = [reader.submit(*case) for case in cases]
        written = run(reader)
        assert [written[reading] for reading in readings] == alone


def test_no_page_compiles_a_kernel_and_no_step_waits(
    cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = reader_with(
        choose_ops(read_config(DATA / "tiny"), torch.device("cuda"), torch.float32), 3
    )
    for case in cases:
        # libraries set themselves up
        reader.submit(*case)
    run(reader)
    compiled = []

    def note(**about: Any) -> bool:
        compiled.append(about["repr"])
        return False

    monkeypatch.setattr(*compilation_hook(), note)
    for case in (*cases, *reversed(cases)):
        reader.submit(*case)
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(reader)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert compiled == []


def compilation_hook() -> tuple[Any, str]:
    """Where Triton calls before it compiles; newer ones have it among their knobs."""
    import triton

    if knobs := getattr(triton, "knobs", None):
        return knobs.runtime, "jit_cache_hook"
    return triton.runtime.jit.JITFunction, "cache_hook"


def test_without_graphs_it_writes_the_same(cases: list[Case], alone: list[list[int]]) -> None:
    fast = choose_ops(read_config(DATA / "tiny"), torch.device("cuda"), torch.float32)
    ops = replace(fast, graphs=False)
    reader = reader_with(ops, 4)
    assert type(reader.runner) is Runner
    readings = [reader.submit(*case) for case in cases]
    written = run(reader)
    assert [written[reading] for reading in readings] == alone


def test_memory_stays_level(cases: list[Case]) -> None:
    reader = reader_with(
        choose_ops(read_config(DATA / "tiny"), torch.device("cuda"), torch.float32), 4
    )
    levels = []
    for _ in range(6):
        for case in cases:
            reader.submit(*case)
        run(reader)
        torch.cuda.synchronize()
        levels.append(torch.cuda.memory_allocated())
    assert levels[-1] <= levels[1]
