"""How the memory of a device is shared out: measured by running the largest steps once.

What the weights leave goes to the largest prefill and the largest batch of the encoder, which may
run at the same time, to a decode step, and to graphs; the rest is the cache. Where that is less
than one context, the steps are made smaller.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from deepocr.engines.deepseek.family import member_of
from deepocr.engines.deepseek.kv_cache import BLOCK_TOKENS, block_bytes
from deepocr.engines.deepseek.memory import free_bytes
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.runner import Runner
from deepocr.engines.deepseek.sequence import Sequence
from deepocr.errors import EngineUnavailable

log = logging.getLogger(__name__)

MAX_PREFILL_TOKENS = {"cuda": 8192, "cpu": 1024, "mps": 1024}
VISION_BYTES = {"cuda": 2 << 30, "cpu": 64 << 20, "mps": 64 << 20}
"""On the host, views one by one: more at a time only fill its caches."""

GRAPHS_BYTES = 512 << 20
"""What graphs and libraries take beside PyTorch's own memory."""

BYTES_A_LOGIT = 16
"""Of a decode step: in the network's type, in float32, with the ban, and for a sum over them."""

SPARE = 1.1
"""Of what was measured: memory is handed out in pieces."""

MAX_CPU_CACHE_BYTES = 2 << 30

SMALLEST_PREFILL_TOKENS = 1024
"""About one page."""


@dataclass(frozen=True)
class MemoryPlan:
    """`num_blocks` of the cache, block 0 included; the largest prefill; what the encoder may take,
    and the `bytes_a_pixel` of a view that it takes, if they were measured."""

    num_blocks: int
    prefill_tokens: int
    vision_bytes: int
    bytes_a_pixel: float | None = None


def default_plan(device: torch.device, num_blocks: int) -> MemoryPlan:
    """Without a look at the memory."""
    kind = device.type
    return MemoryPlan(num_blocks, MAX_PREFILL_TOKENS[kind], VISION_BYTES[kind])


def plan_memory(
    model: OcrModel, make_runner: Callable[[int], Runner], max_sequences: int, cache_gb: float
) -> MemoryPlan:
    """A plan for what is free now: a cache of `cache_gb`, or with 0 what suits.

    `make_runner` makes one with so many blocks of cache. Raises EngineUnavailable when not even
    one whole context fits.
    """
    plan = default_plan(model.device, 0)
    if cache_gb:
        return _with_cache(plan, model, max_sequences, int(cache_gb * 1e9))
    if model.device.type != "cuda":
        a_context = _context_blocks(model) * block_bytes(model.config.decoder, model.dtype)
        suits = min(free_bytes(model.device) // 4, MAX_CPU_CACHE_BYTES)
        return _with_cache(plan, model, max_sequences, max(suits, a_context))
    runner = make_runner(1)
    with runner.on_stream():
        return measured_plan(plan, model, runner, max_sequences)


def measured_plan(
    plan: MemoryPlan, model: OcrModel, runner: Runner, max_sequences: int
) -> MemoryPlan:
    """The largest plan, up to the given one, that leaves room for a context.

    Raises EngineUnavailable when there is none.
    """
    need = _context_blocks(model) * block_bytes(model.config.decoder, model.dtype)
    while True:
        plan, working = _measured(plan, model, runner)
        budget = free_bytes(model.device) - int(working * SPARE) - GRAPHS_BYTES
        if budget >= need or plan.prefill_tokens <= SMALLEST_PREFILL_TOKENS:
            return _with_cache(plan, model, max_sequences, budget)
        plan = replace(
            plan, prefill_tokens=plan.prefill_tokens // 2, vision_bytes=plan.vision_bytes // 2
        )


def _measured(plan: MemoryPlan, model: OcrModel, runner: Runner) -> tuple[MemoryPlan, int]:
    """The plan with what the encoder takes for a pixel, and the working memory that it needs."""
    device, sides = model.device, member_of(model.config).view_sides_px
    encoder = {side: peak_bytes(device, partial(_encode, model, side)) for side in sides}
    a_pixel = max(peak / side**2 for side, peak in encoder.items())
    prefill = peak_bytes(device, partial(_prefill, runner, plan.prefill_tokens))
    decode = runner.max_sequences * model.config.decoder.vocab_size * BYTES_A_LOGIT
    # one view runs however large it is
    vision = max(plan.vision_bytes, *encoder.values())
    log.info(
        "measured: encoder %.0f bytes a pixel, %.2f GB at most; prefill of %d tokens %.2f GB; "
        "decode %.2f GB",
        a_pixel, vision / 1e9, plan.prefill_tokens, prefill / 1e9, decode / 1e9,
    )  # fmt: skip
    return replace(plan, bytes_a_pixel=a_pixel), vision + prefill + decode


def _encode(model: OcrModel, side: int) -> None:
    model.encode(torch.zeros(1, 3, side, side, device=model.device, dtype=model.dtype))


def _prefill(runner: Runner, tokens: int) -> None:
    """Into block 0, which nobody reads."""
    blocks = [0] * -(-tokens // runner.cache.block_tokens)
    sequence = Sequence(0, [0] * tokens, 1, blocks=blocks, slot=runner.max_sequences)
    runner.prefill([sequence], [runner.model.view_seperator.new_empty(0, 1)])


@torch.inference_mode()
def peak_bytes(device: torch.device, run: Callable[[], object]) -> int:
    """Most memory that was in use at a time beyond what was before."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device) - before
    torch.cuda.empty_cache()
    return peak


def _context_blocks(model: OcrModel) -> int:
    return -(-model.config.decoder.max_position_embeddings // BLOCK_TOKENS)


def _with_cache(plan: MemoryPlan, model: OcrModel, max_sequences: int, budget: int) -> MemoryPlan:
    a_block, a_context = block_bytes(model.config.decoder, model.dtype), _context_blocks(model)
    free = free_bytes(model.device)
    blocks = min(budget // a_block, max_sequences * a_context)
    if blocks < a_context or budget > free:
        raise EngineUnavailable(
            f"the KV cache of one page needs {a_context * a_block / 1e9:.2f} GB on "
            f"{model.device}, {budget / 1e9:.2f} GB are planned and {free / 1e9:.2f} GB free; "
            "free memory, or set DEEPOCR_KV_CACHE_GB to what fits"
        )
    log.info("KV cache: %d blocks, %.2f GB", blocks, blocks * a_block / 1e9)
    return replace(plan, num_blocks=blocks + 1)  # block 0 is kept back
