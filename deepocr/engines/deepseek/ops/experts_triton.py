"""Experts in Triton: a GEMV for a token or a few, a grouped GEMM for batches and prefill.

Both round where `plain_experts` rounds (gate, up, their product, each expert's output, the sum of
the routed ones, the shared one), so that they agree with it to the order of summation. Shapes that
depend on data never leave the device: the grids are as large as the worst case, which lets a CUDA
graph hold them. Runs on Triton 3.2 (the container's) and later.
"""

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from deepocr.engines.deepseek.ops.experts import ExpertWeights, experts_by_tokens
from deepocr.engines.deepseek.ops.norm_triton import swiglu, swiglu_rounded
from deepocr.engines.deepseek.ops.routing_triton import group

GEMV_ROWS = 4
"""Rows of a matrix that a program of the GEMV reads, whole: everything is asked for at once, as
waiting for memory is what takes the time."""

SUM_COLUMNS = 512


def experts_gemv(x: Tensor, ids: Tensor, weights: Tensor, layer: ExpertWeights) -> Tensor:
    """Reads each hit expert once a token. The shared ones, S times as wide, go along as S more
    experts of every token; the parts of their output are summed before they are rounded."""
    tokens, top = ids.shape
    hidden, width = x.shape[1], layer.down.shape[2]
    parts = layer.shared_down.shape[1] // width
    inner = x.new_empty(tokens, top + parts, width)
    out = torch.empty_like(x)
    _gemv_gate_up[(triton.cdiv(width, GEMV_ROWS), tokens * (top + parts))](
        x, ids, layer.gate_up, layer.shared_gate_up, inner, hidden, width, TOP=top, SHARED=parts,
        ROWS=GEMV_ROWS, BLOCK=triton.next_power_of_2(hidden), num_warps=8,
    )  # fmt: skip
    _gemv_down[(hidden, tokens)](
        inner, ids, weights, layer.down, layer.shared_down, out, hidden, width, TOP=top,
        SHARED=parts, PARTS=triton.next_power_of_2(top + parts),
        BLOCK=triton.next_power_of_2(width), num_warps=4,
    )  # fmt: skip
    return out


def experts_grouped(x: Tensor, ids: Tensor, weights: Tensor, layer: ExpertWeights) -> Tensor:
    """Tokens sorted by expert; the shared ones are products of PyTorch's."""
    tokens, top = ids.shape
    hidden, width = x.shape[1], layer.down.shape[2]
    block_m, block_n, block_k, warps = block_sizes(tokens)
    places, block_expert = group(ids, layer.gate_up.shape[0], block_m)
    inner = x.new_empty(tokens * top, width)
    written = x.new_empty(tokens * top, hidden)
    common = {"BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_K": block_k, "num_warps": warps}
    num_pairs, num_blocks = tokens * top, block_expert.shape[0]
    _grouped_gate_up[(num_blocks, triton.cdiv(width, block_n))](
        x, layer.gate_up, inner, places, block_expert, num_pairs, hidden, width, TOP=top, **common
    )
    _grouped_down[(num_blocks, triton.cdiv(hidden, block_n))](
        inner, layer.down, written, places, block_expert, num_pairs, hidden, width, **common
    )
    shared = F.linear(swiglu(F.linear(x, layer.shared_gate_up)), layer.shared_down)
    out = torch.empty_like(x)
    _weighted_sum[(tokens, triton.cdiv(hidden, SUM_COLUMNS))](
        written, weights, shared, out, hidden, TOP=top, BLOCK=SUM_COLUMNS, num_warps=4
    )
    return out


def block_sizes(tokens: int) -> tuple[int, int, int, int]:
    """M, N, K of a tile and its warps: rows as many as an expert gets of so many tokens."""
    if tokens <= 128:
        return 16, 64, 128, 4
    if tokens <= 512:
        return 32, 64, 64, 4
    return 64, 64, 64, 4


@triton.jit
def _gemv_gate_up(
    x, ids, gate_up, shared, inner, hidden, width,
    TOP: tl.constexpr, SHARED: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    pair = tl.program_id(1)
    token, k = pair // (TOP + SHARED), pair % (TOP + SHARED)
    is_routed = k < TOP
    expert = tl.load(ids + token * TOP + k, mask=is_routed, other=0).to(tl.int64)
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    at = tl.arange(0, BLOCK)
    here, inside = rows < width, at < hidden
    # where the first row of its gate lies, and how many rows behind it the first of its up
    first = tl.where(is_routed, expert * 2 * width, (k - TOP) * width)
    apart = tl.where(is_routed, width, SHARED * width)
    matrix = tl.where(is_routed, gate_up, shared)
    gate_rows = matrix + (first + rows[:, None]) * hidden
    up_rows = gate_rows + apart * hidden
    mask = here[:, None] & inside[None, :]
    value = tl.load(x + token * hidden + at, mask=inside, other=0.0).to(tl.float32)[None, :]
    gate = tl.load(gate_rows + at[None, :], mask=mask, other=0.0).to(tl.float32) * value
    up = tl.load(up_rows + at[None, :], mask=mask, other=0.0).to(tl.float32) * value
    out = swiglu_rounded(tl.sum(gate, axis=1), tl.sum(up, axis=1), inner.dtype.element_ty)
    tl.store(inner + pair * width + rows, out, mask=here)


@triton.jit
def _gemv_down(
    inner, ids, weights, down, shared, out, hidden, width,
    TOP: tl.constexpr, SHARED: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, token = tl.program_id(0), tl.program_id(1)
    k, at = tl.arange(0, PARTS), tl.arange(0, BLOCK)
    is_routed, known, inside = k < TOP, k < TOP + SHARED, at < width
    expert = tl.load(ids + token * TOP + k, mask=is_routed, other=0).to(tl.int64)
    share = tl.load(weights + token * TOP + k, mask=is_routed, other=0.0)
    first = tl.where(
        is_routed, (expert * hidden + row) * width, row * SHARED * width + (k - TOP) * width
    )
    matrix = tl.where(is_routed, down, shared)
    mask = known[:, None] & inside[None, :]
    tile = tl.load((matrix + first)[:, None] + at[None, :], mask=mask, other=0.0).to(tl.float32)
    parts = inner + (token * (TOP + SHARED) + k) * width
    value = tl.load(parts[:, None] + at[None, :], mask=mask, other=0.0).to(tl.float32)
    each = tl.sum(tile * value, axis=1)
    dtype: tl.constexpr = out.dtype.element_ty
    routed = each.to(dtype).to(tl.float32) * share
    total = tl.sum(tl.where(is_routed, routed, 0.0), axis=0).to(dtype).to(tl.float32)
    both = tl.sum(tl.where(is_routed, 0.0, each), axis=0).to(dtype).to(tl.float32)
    tl.store(out + token * hidden + row, (total + both).to(dtype))


@triton.jit
def _weighted_sum(
    written, weights, shared, out, hidden, TOP: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    dtype: tl.constexpr = out.dtype.element_ty
    token = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < hidden
    total = tl.zeros((BLOCK,), tl.float32)
    for k in tl.static_range(TOP):
        pair = token * TOP + k
        each = tl.load(written + pair * hidden + at, mask=inside, other=0.0).to(tl.float32)
        total += each * tl.load(weights + pair)
    both = tl.load(shared + token * hidden + at, mask=inside, other=0.0).to(tl.float32)
    total = total.to(dtype).to(tl.float32) + both
    tl.store(out + token * hidden + at, total.to(dtype), mask=inside)


@triton.jit(do_not_specialize=["num_pairs"])
def _grouped_gate_up(
    x, gate_up, inner, places, block_expert, num_pairs, hidden, width,
    TOP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    pair = tl.load(places + block * BLOCK_M + tl.arange(0, BLOCK_M))
    filled = pair < num_pairs
    if tl.sum(filled.to(tl.int32), axis=0) == 0:
        return
    expert = tl.load(block_expert + block).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    here = columns < width
    x_rows = x + (pair // TOP)[:, None] * hidden
    gate_columns = gate_up + (expert * 2 * width + columns[None, :]) * hidden
    up_columns = gate_columns + width.to(tl.int64) * hidden
    gate = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    up = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, hidden, BLOCK_K):
        at = start + tl.arange(0, BLOCK_K)
        inside = at < hidden
        a = tl.load(x_rows + at[None, :], mask=filled[:, None] & inside[None, :], other=0.0)
        mask = inside[:, None] & here[None, :]
        b = tl.load(gate_columns + at[:, None], mask=mask, other=0.0)
        gate = tl.dot(a, b, gate, input_precision="ieee")
        b = tl.load(up_columns + at[:, None], mask=mask, other=0.0)
        up = tl.dot(a, b, up, input_precision="ieee")
    out = swiglu_rounded(gate, up, inner.dtype.element_ty)
    mask = filled[:, None] & here[None, :]
    tl.store(inner + pair[:, None] * width + columns[None, :], out, mask=mask)


@triton.jit(do_not_specialize=["num_pairs"])
def _grouped_down(
    inner, down, written, places, block_expert, num_pairs, hidden, width,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    pair = tl.load(places + block * BLOCK_M + tl.arange(0, BLOCK_M))
    filled = pair < num_pairs
    if tl.sum(filled.to(tl.int32), axis=0) == 0:
        return
    expert = tl.load(block_expert + block).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    here = columns < hidden
    inner_rows = inner + pair[:, None] * width
    weight_columns = down + (expert * hidden + columns[None, :]) * width
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, width, BLOCK_K):
        at = start + tl.arange(0, BLOCK_K)
        inside = at < width
        a = tl.load(inner_rows + at[None, :], mask=filled[:, None] & inside[None, :], other=0.0)
        mask = inside[:, None] & here[None, :]
        b = tl.load(weight_columns + at[:, None], mask=mask, other=0.0)
        total = tl.dot(a, b, total, input_precision="ieee")
    mask = filled[:, None] & here[None, :]
    out = total.to(written.dtype.element_ty)
    tl.store(written + pair[:, None] * hidden + columns[None, :], out, mask=mask)


triton_experts = experts_by_tokens(experts_gemv, experts_grouped)
"""As `ops.experts.plain_experts`, without a wait for the device."""
