"""The engine on the tiny checkpoint: what it writes is noise, how it behaves is the point."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from deepocr.engines.base import Engine
from deepocr.engines.deepseek.checkpoint import SafetensorsFolder, load_model
from deepocr.engines.deepseek.config import read_config
from deepocr.engines.deepseek.model.decoder import Decoder
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import plain_ops
from deepocr.engines.deepseek.sampling import NGramBan
from deepocr.engines.deepseek.tiles import make_views
from deepocr.engines.deepseek.tokens import TextStream, read_tokens
from deepocr.engines.registry import create_engine
from deepocr.errors import (
    CheckpointError,
    EngineBroken,
    EngineUnavailable,
    SettingsError,
    UnsupportedTask,
)
from deepocr.pipeline import read_page
from deepocr.settings import Settings
from deepocr.tasks import PRESETS, make_job, prompt_for
from deepocr.types import Job, Page, PageDone, TextDelta, Usage
from measure.plain_sequence import PlainSequence
from tests.tiny_checkpoint import DATA, make_tiny_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def start(folder: Path, **settings: Any) -> Engine:
    chosen = {"device": "cpu", "dtype": "fp32", **settings}
    return create_engine(Settings(engine="deepseek", checkpoints=folder, **chosen))


@pytest.fixture
async def engine(checkpoint: Path) -> AsyncIterator[Engine]:
    started = start(checkpoint)
    yield started
    await started.close()


def page(name: str = "a4", number: int = 1) -> Page:
    with Image.open(DATA / "images" / f"{name}.png") as image:
        return Page(number, image.convert("RGB"))


def job(preset: str = "tiny", tokens: int = 24, task: str = "free") -> Job:
    return make_job(task, preset=preset, max_new_tokens=tokens)


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@torch.inference_mode()
def plainly(folder: Path, shown: Page, task: Job, ban: NGramBan) -> tuple[str, list[float]]:
    """Text and probabilities by the plain path, for an engine to be held against."""
    config = read_config(folder)
    model = load_model(
        config,
        SafetensorsFolder(folder),
        plain_ops(),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    table = read_tokens(folder, config.decoder.vocab_size)
    views = make_views(shown.image, PRESETS[task.preset])
    prompt = table.prompt(prompt_for(task), views.num_slots)
    sequence = PlainSequence(model, prompt, task.max_new_tokens)
    hidden = sequence.prefill(model.encode_views(views))
    written = list(sequence.write(hidden, ban, table.eos_id))
    stream = TextStream(table)
    text = "".join(stream.push(one.token) for one in written) + stream.finish()
    return text, [one.probability for one in written if one.token != table.eos_id]


@pytest.mark.parametrize("preset", ["Tiny", "Base", "Gundam (Recommended)"])
async def test_writes_what_the_plain_path_writes(checkpoint: Path, preset: str) -> None:
    engine = start(checkpoint, ngram_size=3, ngram_window=12)
    task = job(preset, 32, "markdown")
    result = await read_page(engine, page(), task)
    await engine.close()
    table = read_tokens(checkpoint, 1024)
    ban = NGramBan(3, 12, table.table_cell_ids)
    text, probabilities = plainly(checkpoint, page(), task, ban)
    assert result.raw == text
    assert result.confidence == pytest.approx(sum(probabilities) / len(probabilities), rel=1e-4)
    assert (result.usage.output_tokens, result.finish_reason) == (32, "length")
    assert set(result.seconds) >= {"vision", "prefill", "decode"}


async def test_counts_tokens(engine: Engine, checkpoint: Path) -> None:
    result = await read_page(engine, page(), job("small", 7))
    prompt = read_tokens(checkpoint, 1024).prompt("<image>\nFree OCR.", 111)
    assert result.usage == Usage(len(prompt.ids), 7)
    assert result.status == "truncated"


async def test_events(engine: Engine) -> None:
    events = [event async for event in engine.read(page(), job(tokens=40))]
    *deltas, done = events
    assert isinstance(done, PageDone)
    assert all(isinstance(delta, TextDelta) for delta in deltas)
    probabilities = [p for delta in deltas for p in delta.probabilities]  # type: ignore[union-attr]
    assert len(probabilities) == done.usage.output_tokens == 40
    assert all(0 < p <= 1 for p in probabilities)


async def test_stops_at_the_end_token(tmp_path: Path) -> None:
    """With a letter that the model writes sooner or later declared to be the end token."""
    folder = make_tiny_checkpoint(tmp_path)
    text, _ = plainly(folder, page(), job(tokens=40), NGramBan(30, 90))
    letter = next(letter for letter in text if letter.isascii() and letter.isprintable())
    edit(folder / "tokenizer_config.json", eos_token=letter)
    engine = start(folder)
    result = await read_page(engine, page(), job(tokens=40))
    await engine.close()
    assert (result.finish_reason, result.status) == ("stop", "ok")
    assert result.raw == text.partition(letter)[0]
    assert result.usage.output_tokens < 40


async def test_pages_at_once_are_read_as_if_alone(engine: Engine) -> None:
    wanted = [
        (page("a4"), job("tiny", 20, "markdown")),
        (page("landscape"), job("small", 9)),
        (page("wide_small"), job("gundam", 15, "describe")),
        (page("square"), job("tiny", 30, "boxes")),
    ]
    alone = [await read_page(engine, *one) for one in wanted]
    together = await asyncio.gather(*(read_page(engine, *one) for one in wanted))
    assert [result.raw for result in together] == [result.raw for result in alone]
    assert [result.usage for result in together] == [result.usage for result in alone]


async def test_cancel_takes_effect_at_the_next_step(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    forward = Decoder.forward

    def counted(self: Decoder, *args: Any, **kwargs: Any) -> Tensor:
        nonlocal steps
        steps += 1
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(Decoder, "forward", counted)
    reading = engine.read(page(), job(tokens=8000))
    async for event in reading:
        assert isinstance(event, TextDelta)
        break
    await reading.aclose()
    done = await read_page(engine, page(), job(tokens=5))
    assert done.usage.output_tokens == 5
    # both prompts, five tokens, and what was written until the flag was seen
    assert steps < 1000


async def test_canceling_the_task_that_reads(engine: Engine) -> None:
    reading = asyncio.create_task(read_page(engine, page(), job(tokens=8000)))
    await asyncio.sleep(0.3)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (await read_page(engine, page(), job(tokens=3))).usage.output_tokens == 3


async def test_an_error_in_one_page_does_not_touch_the_next(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = OcrModel.encode
    failures = [RuntimeError("the device is cross")]

    def failing(self: OcrModel, pixels: Tensor) -> Tensor:
        if failures:
            raise failures.pop()
        return encode(self, pixels)

    monkeypatch.setattr(OcrModel, "encode", failing)
    failed = await read_page(engine, page(number=4), job())
    assert failed.status == "failed"
    assert "the device is cross" in (failed.error or "")
    assert (await read_page(engine, page(), job(tokens=3))).usage.output_tokens == 3


async def test_a_prompt_that_leaves_no_room(tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["language_config"]["max_position_embeddings"] = 100
    (folder / "config.json").write_text(json.dumps(config))
    engine = start(folder)
    refused = await read_page(engine, page(), job("base"))
    assert refused.status == "failed"
    assert "smaller resolution" in (refused.error or "")
    # Tiny fits, and writes until the context is full
    result = await read_page(engine, page(), job("tiny", 8192))
    assert result.usage.prompt_tokens + result.usage.output_tokens == 100
    assert result.finish_reason == "length"
    await engine.close()


async def test_tasks_it_does_not_know(engine: Engine) -> None:
    with pytest.raises(UnsupportedTask):
        await anext(engine.read(page(), Job(task="Sing")))


async def test_closing(checkpoint: Path) -> None:
    engine = start(checkpoint)
    reading = asyncio.create_task(read_page(engine, page(), job(tokens=8000)))
    await asyncio.sleep(0.3)
    await engine.close()
    await engine.close()
    with pytest.raises(EngineBroken, match="closed"):
        await reading
    with pytest.raises(EngineBroken, match="closed"):
        await anext(engine.read(page(), job()))


async def test_bf16_is_said(checkpoint: Path) -> None:
    engine = start(checkpoint, dtype="bf16")
    result = await read_page(engine, page(), job(tokens=5))
    await engine.close()
    assert engine.capabilities.engine == "deepseek bf16"
    assert result.usage.output_tokens == 5


def test_no_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        start(tmp_path, weights_download=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device")
def test_a_device_that_is_not_there(checkpoint: Path) -> None:
    with pytest.raises(EngineUnavailable, match="DEEPOCR_DEVICE=cuda"):
        start(checkpoint, device="cuda")


def test_a_ban_that_would_ban_nothing(checkpoint: Path) -> None:
    with pytest.raises(SettingsError, match="DEEPOCR_NGRAM_WINDOW=10"):
        start(checkpoint, ngram_size=20, ngram_window=10)
