"""Our own network behind the real Cog server, on the tiny checkpoint.

What it writes is noise. That every task and preset runs, tokens are counted and limits and cancel
are heeded is the point.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deepocr.engines.deepseek.tokens import read_tokens
from deepocr.tasks import PRESETS, TASKS, make_job, prompt_for
from tests.server.cog_server import CogServer, cog_server
from tests.server.inputs import data_url, pdf
from tests.tiny_checkpoint import DATA, make_tiny_checkpoint

SLOTS = {"Tiny": 73, "Small": 111, "Base": 273, "Large": 421, "Gundam (Recommended)": 273}
"""For a picture that fits into one tile."""

TOKENS = 12


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def deepseek_server(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CogServer]:
    with cog_server(
        tmp_path_factory.mktemp("deepseek"),
        DEEPOCR_ENGINE="deepseek",
        DEEPOCR_CHECKPOINTS=str(checkpoint),
        DEEPOCR_DEVICE="cpu",
        DEEPOCR_DTYPE="fp32",
    ) as server:
        yield server


def picture(name: str) -> str:
    return data_url((DATA / "images" / f"{name}.png").read_bytes(), "image/png")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("task", TASKS)
def test_every_task_with_every_preset(
    deepseek_server: CogServer, checkpoint: Path, task: str, preset: str
) -> None:
    reference = "the total" if TASKS[task].needs_reference else ""
    answer = deepseek_server.predict(
        image=picture("wide_small"),
        task_type=task,
        reference_text=reference,
        resolution_size=preset,
        max_new_tokens=TOKENS,
        output_format="JSON",
    )
    assert answer["status"] == "succeeded", answer
    prompt = prompt_for(make_job(task, reference, preset))
    ids = read_tokens(checkpoint, 1024).prompt(prompt, SLOTS[preset]).ids
    assert answer["metrics"]["prompt_tokens"] == len(ids)
    assert answer["metrics"]["output_tokens"] == TOKENS
    [page] = json.loads(answer["output"])["pages"]
    assert (page["status"], page["finish_reason"]) == ("truncated", "length")
    assert 0 < page["confidence"] <= 1
    assert all(0 < region["confidence"] <= 1 for region in page["regions"])


def test_tiles_fill_slots(deepseek_server: CogServer) -> None:
    one_view, tiled = (
        deepseek_server.predict(
            image=picture("a4"), resolution_size=preset, max_new_tokens=3, task_type="Free OCR"
        )["metrics"]["prompt_tokens"]
        for preset in ("Base", "Gundam (Recommended)")
    )
    assert tiled - one_view == (10 * 2 + 1) * 10 * 3


@pytest.mark.parametrize("tokens", [1, 40])
def test_most_tokens(deepseek_server: CogServer, tokens: int) -> None:
    answer = deepseek_server.predict(
        image=picture("wide_small"), resolution_size="Tiny", max_new_tokens=tokens
    )
    assert answer["metrics"]["output_tokens"] == tokens


def test_pages_of_a_document(deepseek_server: CogServer) -> None:
    answer = deepseek_server.predict(
        image=data_url(pdf(3), "application/pdf"),
        resolution_size="Tiny",
        max_new_tokens=5,
        output_format="JSON",
    )
    assert [page["number"] for page in json.loads(answer["output"])["pages"]] == [1, 2, 3]
    assert answer["metrics"]["output_tokens"] == 15


async def test_many_at_once_answer_as_one_alone(deepseek_server: CogServer) -> None:
    inputs = {
        "image": picture("wide_small"),
        "resolution_size": "Tiny",
        "task_type": "Free OCR",
        "max_new_tokens": 20,
    }
    alone = deepseek_server.output(**inputs)
    together = await asyncio.gather(
        *(asyncio.to_thread(deepseek_server.output, **inputs) for _ in range(8))
    )
    assert together == [alone] * 8


async def test_cancel(deepseek_server: CogServer) -> None:
    """A page that would be written for thousands of tokens ends when it is canceled."""
    inputs = {"image": picture("a4"), "resolution_size": "Tiny", "max_new_tokens": 8000}
    url = f"{deepseek_server.url}/predictions/long"
    async with httpx.AsyncClient(timeout=120) as client:
        running = asyncio.create_task(client.put(url, json={"input": inputs}))
        await asyncio.sleep(1)
        while (await client.post(f"{url}/cancel")).status_code == 404 and not running.done():
            await asyncio.sleep(0.05)
        answer = (await running).json()
    assert answer["status"] == "canceled", answer
    after = await asyncio.to_thread(
        deepseek_server.predict,
        image=picture("wide_small"),
        resolution_size="Tiny",
        max_new_tokens=2,
    )
    assert after["metrics"]["output_tokens"] == 2


def test_tags_in_a_reference_are_refused(deepseek_server: CogServer) -> None:
    answer = deepseek_server.predict(
        image=picture("wide_small"),
        task_type="Locate Object by Reference",
        reference_text="<image> twice",
    )
    assert answer["status"] == "failed"
    assert "plain words" in answer["error"]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("cut", "model.safetensors"),
        ("no image token", "<image>"),
        ("other model", "not of a DeepSeek-OCR model"),
    ],
)
def test_setup_names_what_is_wrong_with_the_weights(
    tmp_path: Path, damage: str, expected: str
) -> None:
    folder = make_tiny_checkpoint(tmp_path / "checkpoint")
    if damage == "cut":
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "no image token":
        file = folder / "tokenizer.json"
        file.write_text(file.read_text().replace("<image>", "<picture>"))
    else:
        (folder / "config.json").write_text('{"model_type": "llama"}')
    settings = {"DEEPOCR_ENGINE": "deepseek", "DEEPOCR_CHECKPOINTS": str(folder)}
    with cog_server(tmp_path / "server", ready=False, **settings) as server:
        health = server.health()
    assert health["status"] == "SETUP_FAILED"
    assert expected in health["setup"]["logs"]
