"""RMS norm with the addition before it, and SwiGLU, in one kernel each.

Both round where the plain versions round. Run on Triton 3.2 and later.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

SWIGLU_COLUMNS = 1024


def add_norm(x: Tensor, delta: Tensor | None, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """As `ops.norm.plain_add_norm`."""
    x = x.contiguous()
    tokens, hidden = x.shape
    normed = torch.empty_like(x)
    total = x if delta is None else torch.empty_like(x)
    _add_norm[(tokens,)](
        x, x if delta is None else delta.contiguous(), weight, total, normed, eps, hidden,
        HAS_DELTA=delta is not None, BLOCK=triton.next_power_of_2(hidden), num_warps=4,
    )  # fmt: skip
    return total, normed


def swiglu(gate_up: Tensor) -> Tensor:
    """As `ops.experts.plain_swiglu`."""
    rows = gate_up.reshape(-1, gate_up.shape[-1])
    width = rows.shape[1] // 2
    out = rows.new_empty(rows.shape[0], width)
    _swiglu_rows[(rows.shape[0], triton.cdiv(width, SWIGLU_COLUMNS))](
        rows, out, width, BLOCK=SWIGLU_COLUMNS, num_warps=4
    )
    return out.view(*gate_up.shape[:-1], width)


@triton.jit
def _add_norm(
    x, delta, weight, total, normed, eps, hidden, HAS_DELTA: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    dtype: tl.constexpr = x.dtype.element_ty
    row = tl.program_id(0).to(tl.int64) * hidden
    at = tl.arange(0, BLOCK)
    inside = at < hidden
    value = tl.load(x + row + at, mask=inside, other=0.0).to(tl.float32)
    if HAS_DELTA:
        value += tl.load(delta + row + at, mask=inside, other=0.0).to(tl.float32)
        value = value.to(dtype).to(tl.float32)
        tl.store(total + row + at, value.to(dtype), mask=inside)
    mean = tl.sum(value * value, axis=0) / hidden
    value = (value * (1.0 / tl.sqrt(mean + eps))).to(dtype).to(tl.float32)
    scale = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed + row + at, (scale * value).to(dtype), mask=inside)


@triton.jit
def _swiglu_rows(gate_up, out, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    gate = tl.load(gate_up + row * 2 * width + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + (row * 2 + 1) * width + at, mask=inside, other=0.0).to(tl.float32)
    value = swiglu_rounded(gate, up, out.dtype.element_ty)
    tl.store(out + row * width + at, value, mask=inside)


@triton.jit
def swiglu_rounded(gate, up, dtype: tl.constexpr):
    """Rounded after each operation, as PyTorch does in the plain version."""
    gate = gate.to(dtype).to(tl.float32)
    up = up.to(dtype).to(tl.float32)
    gated = (gate * tl.sigmoid(gate)).to(dtype).to(tl.float32)
    return (gated * up).to(dtype)
