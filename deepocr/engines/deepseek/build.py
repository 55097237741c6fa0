"""A reader of pages for a loaded model: operations, cache and limits that suit its device."""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch

from deepocr.engines.deepseek.batching import BatchedReader
from deepocr.engines.deepseek.family import member_of
from deepocr.engines.deepseek.graphs import GraphRunner
from deepocr.engines.deepseek.kv_blocks import BlockPool
from deepocr.engines.deepseek.kv_cache import BLOCK_TOKENS, BlockCache
from deepocr.engines.deepseek.memory_plan import default_plan, plan_memory
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


@torch.inference_mode()
def make_reader(
    model: OcrModel,
    ops: FastOps,
    *,
    ban: NGramBan = NO_BAN,
    end_id: int,
    alphabet: Alphabet | None = None,
    max_sequences: int,
    num_blocks: int | None = None,
    cache_gb: float = 0,
    block_tokens: int = BLOCK_TOKENS,
) -> BatchedReader:
    """Cache, runner and scheduler for a model; graphs are captured where there can be any.

    Without `num_blocks` the memory is planned, with a cache of `cache_gb` unless that is 0. Raises
    EngineUnavailable for lack of memory, and when a capture that DEEPOCR_OPS asks for fails.
    """
    config, device = model.config.decoder, model.device
    settings: dict[str, Any] = {
        "max_sequences": max_sequences,
        "context": config.max_position_embeddings,
        "ban": ban,
        "paged_attention": ops.paged,
        "prefill_attention": ops.prefill,
        "rotary_write": ops.rotary_write,
        "pick": ops.pick,
    }

    def make(kind: type[Runner], blocks: int) -> Runner:
        cache = BlockCache(
            config, blocks, device=device, dtype=model.dtype, block_tokens=block_tokens
        )
        return kind(model, cache, **settings)

    if num_blocks is None:
        with on_device(device), ops.report.stage("memory"):
            plan = plan_memory(model, partial(make, Runner), max_sequences, cache_gb)
    else:
        plan = default_plan(device, num_blocks)
    runner = make(GraphRunner if ops.graphs else Runner, plan.num_blocks)
    if isinstance(runner, GraphRunner) and not _captured(runner, ops):
        del runner
        runner = make(Runner, plan.num_blocks)
    vision = VisionBatcher(model, plan.vision_bytes, plan.bytes_a_pixel)
    if device.type == "cuda":
        with runner.on_stream(), ops.report.stage("warm-up"):
            warm_up(runner, vision)
            torch.cuda.synchronize()
    pool = BlockPool(plan.num_blocks, block_tokens)
    return BatchedReader(
        runner,
        Scheduler(pool, max_sequences, plan.prefill_tokens, config.sliding_window),
        vision,
        end_id=end_id,
        alphabet=alphabet,
        overlap=device.type == "cuda",
    )


def warm_up(runner: Runner, vision: VisionBatcher) -> None:
    """What is done once is done before the first page: kernels compiled, libraries set up, host
    memory pinned."""
    runner.warm_up()
    vision.warm_up(member_of(runner.model.config).view_sides_px)


def _captured(runner: GraphRunner, ops: FastOps) -> bool:
    """Whether there are graphs now. Raises EngineUnavailable when there have to be, and when the
    device is lost."""
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
        return False
    ops.report.versions[GRAPHS] = CUDA_GRAPHS
    return True


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
