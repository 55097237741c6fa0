"""Which version of each operation runs on a device: decided once at the start, by trying."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from deepocr.engines.deepseek.config import OcrConfig
from deepocr.engines.deepseek.ops import AttentionOps, Ops
from deepocr.engines.deepseek.ops.cpu_attention import CPU_ATTENTION, CpuPagedAttention
from deepocr.engines.deepseek.ops.experts import experts_by_tokens
from deepocr.engines.deepseek.ops.operations import BIAS_IN_KERNEL_FROM, OPERATIONS
from deepocr.engines.deepseek.ops.paged_attention import (
    PagedAttentionOp,
    PlainPrefillAttention,
    PrefillAttentionOp,
)
from deepocr.engines.deepseek.ops.pick import PickOp, plain_pick
from deepocr.engines.deepseek.ops.probes import (
    PLAIN,
    Operation,
    Scene,
    choose,
    read_forced,
    tell,
)
from deepocr.engines.deepseek.ops.processor import PRODUCTS, Products, own_products
from deepocr.engines.deepseek.ops.rotary import RotaryWriteOp, plain_rotary_write
from deepocr.engines.deepseek.start_report import StartReport
from deepocr.errors import EngineUnavailable, SettingsError

log = logging.getLogger(__name__)

GRAPHS = "graphs"
CUDA_GRAPHS = "cuda"
PRODUCTS_OPERATION = "products"


@dataclass(frozen=True)
class FastOps:
    """`network` for the model, the others for the runner. `graphs` says whether a decode step
    can be captured in a CUDA graph: nothing in it looks at a value on the host; with
    `must_capture` a capture that fails is an error. `products` is what weights on a CPU are
    packed for."""

    network: Ops
    paged: PagedAttentionOp
    prefill: PrefillAttentionOp
    graphs: bool
    rotary_write: RotaryWriteOp = plain_rotary_write
    pick: PickOp = plain_pick
    must_capture: bool = False
    products: Products = "float32"
    report: StartReport = field(default_factory=StartReport, compare=False)


class RelativeInKernel:
    """An AttentionOps with SAM's global attention by another version."""

    def __init__(self, base: AttentionOps, relative: Callable[..., Tensor]) -> None:
        self.name = f"{base.name}, SAM in a kernel"
        self.causal, self.full = base.causal, base.full
        self._base, self._relative = base, relative

    def relative(self, q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
        run = self._base.relative if q.shape[1] < BIAS_IN_KERNEL_FROM else self._relative
        return run(q, k, v, rel_h, rel_w)


def choose_ops(
    config: OcrConfig,
    device: torch.device,
    dtype: torch.dtype,
    forced: str = "",
    report: StartReport | None = None,
) -> FastOps:
    """The fastest versions that work on a device, in a type. `forced` is DEEPOCR_OPS; what is
    found goes to the `report`, here and later.

    Raises SettingsError for names that are unknown, EngineUnavailable when a forced version fails.
    """
    if device.type != "cuda":
        return cpu_ops(dtype, forced, report)
    with torch.cuda.device(device):
        ops = probed_ops(Scene(config, device, dtype), forced, report=report)
        torch.cuda.empty_cache()
    return ops


def cpu_ops(dtype: torch.dtype, forced: str = "", report: StartReport | None = None) -> FastOps:
    """What suits the processor; nothing is tried, as every version runs on every processor."""
    wanted = read_forced(forced, {PRODUCTS_OPERATION: PRODUCTS}).get(PRODUCTS_OPERATION)
    if dtype != torch.bfloat16 and wanted not in (None, "float32"):
        raise SettingsError(
            f"DEEPOCR_OPS={forced} is for bf16, and this is {dtype}; leave it empty"
        )
    own = own_products() if dtype == torch.bfloat16 else "float32"
    products = next((version for version in PRODUCTS if version == wanted), own)
    attention = CPU_ATTENTION[products]
    told = products if wanted is None else f"{products}, as DEEPOCR_OPS wants"
    log.info("products on the CPU=%s; attention=%s, no graphs", told, attention.name)
    report = report or StartReport()
    report.versions[PRODUCTS_OPERATION] = products
    report.notes[PRODUCTS_OPERATION] = told
    return FastOps(
        network=Ops(attention),
        paged=CpuPagedAttention(),
        prefill=PlainPrefillAttention(attention),
        graphs=False,
        products=products,
        report=report,
    )


@torch.inference_mode()
def probed_ops(
    scene: Scene,
    forced: str = "",
    operations: Sequence[Operation] = OPERATIONS,
    report: StartReport | None = None,
) -> FastOps:
    """As `choose_ops` for CUDA, on any device."""
    known = {o.name: [version.name for version in (*o.fast, o.plain)] for o in operations}
    wanted = read_forced(forced, {**known, GRAPHS: [CUDA_GRAPHS, PLAIN]})
    report = report or StartReport()
    with report.stage("probe"):
        chosen = choose(operations, scene, wanted, report)
    run: dict[str, Any] = {name: one.run for name, one in chosen.items()}
    waiting = [o.name for o in operations if o.in_step and not chosen[o.name].version.in_graph]
    graphs = wanted.get(GRAPHS, CUDA_GRAPHS) == CUDA_GRAPHS and not waiting
    if waiting and GRAPHS not in wanted:
        tell(report, GRAPHS, PLAIN, [f"plain {', '.join(waiting)} cannot be captured"])
    elif waiting and wanted[GRAPHS] == CUDA_GRAPHS:
        raise EngineUnavailable(
            f"DEEPOCR_OPS wants {GRAPHS}={CUDA_GRAPHS}, and plain {', '.join(waiting)} cannot be "
            "captured; leave it out"
        )
    log.info(
        "probed in %.1f s: %s", report.seconds["probe"],
        ", ".join(f"{name}={version}" for name, version in report.versions.items()),
    )  # fmt: skip
    return replace(
        assembled(run),
        graphs=graphs,
        must_capture=wanted.get(GRAPHS) == CUDA_GRAPHS,
        report=report,
    )


def assembled(run: Mapping[str, Any]) -> FastOps:
    """Versions of all operations, by name, as network and runner call them."""
    network = Ops(
        RelativeInKernel(run["encoder-attention"], run["sam-attention"]),
        experts_by_tokens(run["experts-few"], run["experts-many"]),
        run["add-norm"],
        run["routing"],
        run["swiglu"],
    )
    return FastOps(
        network,
        run["paged-attention"],
        run["prefill-attention"],
        graphs=True,
        rotary_write=run["rotary-write"],
        pick=run["pick"],
    )
