"""A reader of pages for a loaded model: operations, cache and limits that suit its device."""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch

from deepocr.engines.deepseek.batching import BatchedReader
from deepocr.engines.deepseek.family import member_of
from deepocr.engines.deepseek.graphs import GraphRunner
from deepocr.engines.deepseek.kv_blocks import BlockPool
from deepocr.engines.deepseek.kv_cache import BLOCK_TOKENS, BlockCache, block_bytes
from deepocr.engines.deepseek.memory import free_bytes
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops.choice import CUDA_GRAPHS, GRAPHS, FastOps
from deepocr.engines.deepseek.ops.probes import PLAIN, check_device, tell
from deepocr.engines.deepseek.runner import Runner
from deepocr.engines.deepseek.sampling import NO_BAN, NGramBan
from deepocr.engines.deepseek.scheduler import Scheduler
from deepocr.engines.deepseek.vision import VisionBatcher
from deepocr.errors import EngineUnavailable, reason
from deepocr.parsing.loops import Alphabet

log = logging.getLogger(__name__)

DTYPES: Mapping[str, torch.dtype] = {"bf16": torch.bfloat16, "fp32": torch.float32}

MAX_SEQUENCES = {"cuda": 64, "cpu": 8, "mps": 8}
MAX_PREFILL_TOKENS = {"cuda": 8192, "cpu": 1024, "mps": 1024}
VISION_BYTES = {"cuda": 2 << 30, "cpu": 64 << 20, "mps": 64 << 20}
"""On the host, views one by one: more at a time only fill its caches."""

CUDA_WORKING_BYTES = 3 << 30
"""Kept for activations, graphs and libraries beside the cache."""

MAX_CPU_CACHE_BYTES = 2 << 30


@torch.inference_mode()
def make_reader(
    model: OcrModel,
    ops: FastOps,
    *,
    ban: NGramBan = NO_BAN,
    end_id: int,
    alphabet: Alphabet | None = None,
    max_sequences: int,
    num_blocks: int,
    block_tokens: int = BLOCK_TOKENS,
) -> BatchedReader:
    """Cache, runner and scheduler for a model; graphs are captured where there can be any.

    Raises EngineUnavailable when a capture that DEEPOCR_OPS asks for fails.
    """
    kind = model.device.type
    cache = BlockCache(
        model.config.decoder,
        num_blocks,
        device=model.device,
        dtype=model.dtype,
        block_tokens=block_tokens,
    )
    make = partial(
        GraphRunner if ops.graphs else Runner,
        model,
        cache,
        max_sequences=max_sequences,
        context=model.config.decoder.max_position_embeddings,
        ban=ban,
        paged_attention=ops.paged,
        prefill_attention=ops.prefill,
        rotary_write=ops.rotary_write,
        pick=ops.pick,
    )
    runner = _captured(make, ops) or Runner(*make.args, **make.keywords)
    vision = VisionBatcher(model, VISION_BYTES[kind])
    if kind == "cuda":
        with runner.on_stream(), ops.report.stage("warm-up"):
            warm_up(runner, vision)
            torch.cuda.synchronize()
    return BatchedReader(
        runner,
        Scheduler(
            BlockPool(num_blocks, block_tokens),
            max_sequences,
            MAX_PREFILL_TOKENS[kind],
            model.config.decoder.sliding_window,
        ),
        vision,
        end_id=end_id,
        alphabet=alphabet,
        overlap=kind == "cuda",
    )


def warm_up(runner: Runner, vision: VisionBatcher) -> None:
    """What is done once is done before the first page: kernels compiled, libraries set up, host
    memory pinned."""
    runner.warm_up()
    vision.warm_up(member_of(runner.model.config).view_sides_px)


def _captured(make: Callable[[], Runner], ops: FastOps) -> Runner | None:
    """A runner with its graphs, if there are to be any; None when they cannot be captured."""
    runner = make()
    if not isinstance(runner, GraphRunner):
        return runner
    try:
        with runner.on_stream(), ops.report.stage("capture"):
            runner.capture()
    except Exception as error:
        told = reason(error)
        if ops.must_capture:
            raise EngineUnavailable(
                f"DEEPOCR_OPS wants {GRAPHS}={CUDA_GRAPHS}, and the capture fails: {told}; leave "
                "it out"
            ) from error
        try:
            check_device(runner.device)
        except Exception as gone:
            raise EngineUnavailable(
                f"the capture of graphs left {runner.device} unusable: {told}; start again with "
                f"DEEPOCR_OPS={GRAPHS}={PLAIN}"
            ) from gone
        log.debug("no graphs", exc_info=error)
        tell(ops.report, GRAPHS, PLAIN, [f"their capture fails: {told}"])
        return None
    ops.report.versions[GRAPHS] = CUDA_GRAPHS
    return runner


def plan_blocks(model: OcrModel, max_sequences: int, cache_gb: float) -> int:
    """How many cache blocks to make: `cache_gb`, or with 0 what suits the memory that is free.

    Raises EngineUnavailable when not even one whole context fits.
    """
    config = model.config.decoder
    a_block = block_bytes(config, model.dtype)
    a_context = -(-config.max_position_embeddings // BLOCK_TOKENS)
    free = free_bytes(model.device)
    if cache_gb:
        budget = int(cache_gb * 1e9)
    elif model.device.type == "cuda":
        budget = free - CUDA_WORKING_BYTES
    else:
        budget = max(min(free // 4, MAX_CPU_CACHE_BYTES), a_context * a_block)
    blocks = min(budget // a_block, max_sequences * a_context)
    if blocks < a_context or budget > free:
        raise EngineUnavailable(
            f"the KV cache of one page needs {a_context * a_block / 1e9:.2f} GB on "
            f"{model.device}, {budget / 1e9:.2f} GB are planned and {free / 1e9:.2f} GB free; "
            "free memory, or set DEEPOCR_KV_CACHE_GB to what fits"
        )
    log.info("KV cache: %d blocks, %.2f GB", blocks, blocks * a_block / 1e9)
    return blocks + 1  # block 0 is kept back


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Triton runs on the current device, which each thread has its own of."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def choose_device(name: str) -> torch.device:
    """Raises EngineUnavailable for a device that is not there; never takes another instead."""
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if has_cuda else "cpu")
    device = torch.device(name)
    if name == "mps" and not torch.backends.mps.is_available():
        raise EngineUnavailable(
            f"DEEPOCR_DEVICE=mps, and PyTorch {torch.__version__} finds no GPU of Apple's; "
            "use auto or cpu"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EngineUnavailable(
            f"DEEPOCR_DEVICE={name}, and PyTorch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices; use auto or cpu"
        )
    return device
