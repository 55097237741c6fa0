"""Which version of each operation runs on a device: decided once, logged with the reason.

Fast versions need a package (flash-attn, Triton); without it the plain one runs, never in silence.
"""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from deepocr.engines.deepseek.ops import AttentionOps, Ops
from deepocr.engines.deepseek.ops.attention import FlashAttention, choose_attention
from deepocr.engines.deepseek.ops.cpu_attention import CpuAttention, CpuPagedAttention
from deepocr.engines.deepseek.ops.experts import plain_experts
from deepocr.engines.deepseek.ops.paged_attention import (
    FlashPagedAttention,
    FlashPrefillAttention,
    PagedAttentionOp,
    PlainPagedAttention,
    PlainPrefillAttention,
    PrefillAttentionOp,
)

log = logging.getLogger(__name__)

BIAS_IN_KERNEL_FROM = 1024
"""Positions from which SAM's bias is added inside a kernel; in windows it is small."""


@dataclass(frozen=True)
class FastOps:
    """`network` for the model, the others for the runner. `graphs` says whether a decode step
    can be captured in a CUDA graph: nothing in it looks at a value on the host."""

    network: Ops
    paged: PagedAttentionOp
    prefill: PrefillAttentionOp
    graphs: bool


class RelativeInKernel:
    """An AttentionOps with SAM's global attention in Triton."""

    def __init__(self, base: AttentionOps) -> None:
        from deepocr.engines.deepseek.ops.sam_attention_triton import relative_attention

        self.name = f"{base.name}, SAM in Triton"
        self.base = base
        self._relative = relative_attention

    def causal(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.base.causal(q, k, v)

    def full(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.base.full(q, k, v)

    def relative(self, q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
        if q.shape[1] < BIAS_IN_KERNEL_FROM:
            return self.base.relative(q, k, v, rel_h, rel_w)
        return self._relative(q, k, v, rel_h, rel_w)


def choose_ops(
    device: torch.device, dtype: torch.dtype, *, sliding_window: bool = False
) -> FastOps:
    """The fastest versions that are installed for a device and type.

    flash-attn's decode has no window that leaves the prompt in sight, so `sliding_window` takes
    the Triton kernel, which has.
    """
    if device.type != "cuda":
        own = CpuAttention()
        log.info("attention=%s, experts=plain, no graphs: the device is %s", own.name, device.type)
        network = Ops(own, plain_experts)
        return FastOps(network, CpuPagedAttention(), PlainPrefillAttention(own), False)
    attention = choose_attention(device, dtype)
    flash = isinstance(attention, FlashAttention)
    to_prefill: PrefillAttentionOp = (
        FlashPrefillAttention() if flash else PlainPrefillAttention(attention)
    )
    try:
        from deepocr.engines.deepseek.ops.experts_triton import triton_experts
        from deepocr.engines.deepseek.ops.paged_attention_triton import TritonPagedAttention
    except ImportError as error:
        log.warning("experts=plain, no graphs, decoding is slow: Triton is missing (%s)", error)
        slow: PagedAttentionOp = (
            FlashPagedAttention() if flash and not sliding_window else PlainPagedAttention()
        )
        return FastOps(Ops(attention, plain_experts), slow, to_prefill, False)
    paged: PagedAttentionOp = (
        FlashPagedAttention() if flash and not sliding_window else TritonPagedAttention()
    )
    log.info("experts=triton, paged attention=%s, decode in CUDA graphs", paged.name)
    return FastOps(Ops(RelativeInKernel(attention), triton_experts), paged, to_prefill, True)
