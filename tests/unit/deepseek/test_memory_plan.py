"""The memory of a device shared out by what was measured; limits that give way and come back."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deepocr.engines.deepseek import limits, memory_plan
from deepocr.engines.deepseek.build import make_reader
from deepocr.engines.deepseek.limits import Limit
from deepocr.engines.deepseek.memory_plan import MemoryPlan, default_plan, measured_plan
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops.choice import cpu_ops
from deepocr.engines.deepseek.runner import Runner
from deepocr.errors import EngineUnavailable

CUDA = torch.device("cuda")
GB = 10**9


def runner_of(model: OcrModel) -> Runner:
    ops = cpu_ops(torch.float32)
    reader = make_reader(model, ops, end_id=1, max_sequences=2, num_blocks=2)
    return reader.runner


def plan(
    model: OcrModel, monkeypatch: pytest.MonkeyPatch, free: int, peaks: Any = lambda tokens: GB
) -> tuple[MemoryPlan, list[int]]:
    """The plan for so much free memory, and the prefills that were tried. Every step runs."""
    tried: list[int] = []
    prefill = memory_plan._prefill

    def note(runner: Runner, tokens: int) -> None:
        tried.append(tokens)
        prefill(runner, tokens)

    def peak(_: torch.device, run: Any) -> int:
        before = len(tried)
        run()
        return int(peaks(tried[-1])) if len(tried) > before else 64 * 1024**2

    monkeypatch.setattr(memory_plan, "_prefill", note)
    monkeypatch.setattr(memory_plan, "peak_bytes", peak)
    monkeypatch.setattr(memory_plan, "free_bytes", lambda _: free)
    monkeypatch.setattr(memory_plan, "GRAPHS_BYTES", 0)
    start = MemoryPlan(0, 4096, 2 * GB)
    with torch.inference_mode():
        return measured_plan(start, model, runner_of(model), 64), tried


def test_the_cache_gets_what_the_largest_steps_leave(
    tiny_model: OcrModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = memory_plan.block_bytes(tiny_model.config.decoder, tiny_model.dtype)
    found, tried = plan(tiny_model, monkeypatch, 4 * GB)
    # 2 GB for the encoder, 1 GB for the prefill, and the tenth
    left = 4 * GB - int(1.1 * (3 * GB + 2 * 1024 * memory_plan.BYTES_A_LOGIT))
    assert found.num_blocks == 1 + min(left // block, 64 * 32)
    assert (found.prefill_tokens, tried) == (4096, [4096])
    # the smallest side has the most bytes a pixel where all take the same
    assert found.bytes_a_pixel == 64 * 1024**2 / 512**2


def test_where_no_context_fits_the_steps_are_made_smaller(
    tiny_model: OcrModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, tried = plan(
        tiny_model, monkeypatch, int(1.8 * GB), peaks=lambda tokens: tokens / 4096 * GB
    )
    assert tried == [4096, 2048]
    assert (found.prefill_tokens, found.vision_bytes) == (2048, GB)


def test_a_card_that_is_too_small_is_told(
    tiny_model: OcrModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineUnavailable, match="the KV cache of one page needs"):
        plan(tiny_model, monkeypatch, GB // 10)


def test_a_plan_for_the_host_needs_no_measuring(tiny_model: OcrModel) -> None:
    reader = make_reader(tiny_model, cpu_ops(torch.float32), end_id=1, max_sequences=2)
    assert reader.scheduler.max_prefill_tokens == default_plan(tiny_model.device, 0).prefill_tokens
    assert reader.scheduler.pool.free >= 32


def test_a_limit_comes_back_when_steps_have_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECOVER_AFTER", 2)
    owner = SimpleNamespace(most=64)
    limit = Limit(owner, "most")
    limit.worked()
    limit.halve(40)
    assert owner.most == 20
    for expected in (20, 20, 20, 40, 40, 40, 40, 64, 64):
        limit.worked()
        assert owner.most == expected


def test_a_limit_that_fails_again_waits_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECOVER_AFTER", 1)
    owner = SimpleNamespace(most=64)
    limit = Limit(owner, "most")
    for waits in (2, 4, 8):
        limit.halve()
        for _ in range(waits - 1):
            limit.worked()
        assert owner.most == 32
        limit.worked()
        assert owner.most == 64


def test_a_limit_never_falls_to_nothing() -> None:
    owner = SimpleNamespace(most=1)
    Limit(owner, "most").halve()
    assert owner.most == 1
