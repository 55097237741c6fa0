"""Routed experts in Triton: a GEMV for a token or a few, a grouped GEMM for batches and prefill.

Both round where `plain_experts` rounds (gate, up, their product, each expert's output), so that
they agree with it to the order of summation. Shapes that depend on data never leave the device:
the grids are as large as the worst case, which lets a CUDA graph hold them. Runs on Triton 3.2
(the container's) and later.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from deepocr.engines.deepseek.ops.experts import experts_by_tokens


def experts_gemv(x: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """x (T, hidden), ids and weights (T, K) -> (T, hidden); reads each hit expert once a token."""
    tokens, top = ids.shape
    hidden, width = x.shape[1], down.shape[2]
    inner = x.new_empty(tokens * top, width)
    out = torch.empty_like(x)
    rows = 16
    _gemv_gate_up[(triton.cdiv(width, rows), tokens * top)](
        x, ids, gate_up, inner, hidden, width, TOP=top, ROWS=rows, BLOCK_K=256, num_warps=4
    )
    rows = 8
    _gemv_down[(triton.cdiv(hidden, rows), tokens)](
        inner, ids, weights, down, out, hidden, width, TOP=top, ROWS=rows, BLOCK_K=256, num_warps=4
    )
    return out


def experts_grouped(
    x: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor
) -> Tensor:
    """x (T, hidden), ids and weights (T, K) -> (T, hidden); tokens sorted by expert."""
    tokens, top = ids.shape
    hidden, width = x.shape[1], down.shape[2]
    block_m, block_n, block_k, warps = block_sizes(tokens)
    places, block_expert = group_by_expert(ids, gate_up.shape[0], block_m)
    inner = x.new_empty(tokens * top, width)
    written = x.new_empty(tokens * top, hidden)
    common = {"BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_K": block_k, "num_warps": warps}
    num_pairs, num_blocks = tokens * top, block_expert.shape[0]
    _grouped_gate_up[(num_blocks, triton.cdiv(width, block_n))](
        x, gate_up, inner, places, block_expert, num_pairs, hidden, width, TOP=top, **common
    )
    _grouped_down[(num_blocks, triton.cdiv(hidden, block_n))](
        inner, down, written, places, block_expert, num_pairs, hidden, width, **common
    )
    each = written.view(tokens, top, hidden).float()
    return (each * weights.unsqueeze(-1)).sum(dim=1).to(x.dtype)


def block_sizes(tokens: int) -> tuple[int, int, int, int]:
    """M, N, K of a tile and its warps: rows as many as an expert gets of so many tokens."""
    if tokens <= 128:
        return 16, 64, 128, 4
    if tokens <= 512:
        return 32, 64, 64, 4
    return 64, 64, 64, 4


def group_by_expert(ids: Tensor, num_experts: int, block_m: int) -> tuple[Tensor, Tensor]:
    """Token-expert pairs in blocks of `block_m`, each block of one expert.

    ids (T, K) -> places (blocks * block_m), the pair t * K + k at each row or T * K where there is
    none, and the expert of each block (blocks), or `num_experts` for one that stays empty.
    """
    chosen = ids.flatten()
    pairs = chosen.shape[0]
    num_blocks = pairs // block_m + min(pairs, num_experts)
    order = chosen.argsort(stable=True)
    in_order = chosen[order]
    counts = torch.zeros(num_experts, dtype=torch.int64, device=ids.device)
    counts.scatter_add_(0, chosen, torch.ones_like(chosen))
    filled = (counts + block_m - 1) // block_m * block_m
    ends = filled.cumsum(0)
    # row of the first pair of each expert, less its rank among all pairs
    shift = ends - filled - (counts.cumsum(0) - counts)
    rows = torch.arange(pairs, device=ids.device) + shift[in_order]
    places = torch.full((num_blocks * block_m,), pairs, dtype=torch.int64, device=ids.device)
    places.scatter_(0, rows, order)
    starts = torch.arange(num_blocks, device=ids.device) * block_m
    return places, torch.searchsorted(ends, starts, right=True)


@triton.jit
def _gemv_gate_up(
    x, ids, gate_up, inner, hidden, width,
    TOP: tl.constexpr, ROWS: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    pair = tl.program_id(1)
    expert = tl.load(ids + pair).to(tl.int64)
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here = rows < width
    gate_rows = gate_up + (expert * 2 * width + rows[:, None]) * hidden
    up_rows = gate_rows + width.to(tl.int64) * hidden
    gate = tl.zeros((ROWS, BLOCK_K), tl.float32)
    up = tl.zeros((ROWS, BLOCK_K), tl.float32)
    for start in range(0, hidden, BLOCK_K):
        at = start + tl.arange(0, BLOCK_K)
        mask = here[:, None] & (at < hidden)[None, :]
        value = tl.load(x + (pair // TOP) * hidden + at, mask=at < hidden, other=0.0)
        value = value.to(tl.float32)[None, :]
        gate += tl.load(gate_rows + at[None, :], mask=mask, other=0.0).to(tl.float32) * value
        up += tl.load(up_rows + at[None, :], mask=mask, other=0.0).to(tl.float32) * value
    out = _swiglu(tl.sum(gate, axis=1), tl.sum(up, axis=1), inner.dtype.element_ty)
    tl.store(inner + pair * width + rows, out, mask=here)


@triton.jit
def _gemv_down(
    inner, ids, weights, down, out, hidden, width,
    TOP: tl.constexpr, ROWS: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(1)
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here = rows < hidden
    total = tl.zeros((ROWS,), tl.float32)
    for k in range(TOP):
        pair = token * TOP + k
        expert = tl.load(ids + pair).to(tl.int64)
        weight_rows = down + (expert * hidden + rows[:, None]) * width
        products = tl.zeros((ROWS, BLOCK_K), tl.float32)
        for start in range(0, width, BLOCK_K):
            at = start + tl.arange(0, BLOCK_K)
            mask = here[:, None] & (at < width)[None, :]
            value = tl.load(inner + pair * width + at, mask=at < width, other=0.0)
            tile = tl.load(weight_rows + at[None, :], mask=mask, other=0.0).to(tl.float32)
            products += tile * value.to(tl.float32)[None, :]
        each = tl.sum(products, axis=1).to(out.dtype.element_ty).to(tl.float32)
        total += each * tl.load(weights + pair)
    tl.store(out + token * hidden + rows, total.to(out.dtype.element_ty), mask=here)


@triton.jit
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
    out = _swiglu(gate, up, inner.dtype.element_ty)
    mask = filled[:, None] & here[None, :]
    tl.store(inner + pair[:, None] * width + columns[None, :], out, mask=mask)


@triton.jit
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


@triton.jit
def _swiglu(gate, up, dtype: tl.constexpr):
    # rounded after each operation, as PyTorch does in the plain version
    gate = gate.to(dtype).to(tl.float32)
    up = up.to(dtype).to(tl.float32)
    gated = (gate * tl.sigmoid(gate)).to(dtype).to(tl.float32)
    return (gated * up).to(dtype)


triton_experts = experts_by_tokens(experts_gemv, experts_grouped)
"""As `ops.experts.plain_experts`, without a wait for the device."""
