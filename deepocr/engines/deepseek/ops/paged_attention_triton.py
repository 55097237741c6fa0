"""Paged decode attention in Triton: each sequence's keys are split among programs, then merged.

For CUDA without flash-attn. One query a sequence leaves nothing for `tl.dot`: the work is reading
keys and values once, so products are summed in registers. Runs on Triton 3.2 and later.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from deepocr.engines.deepseek.ops.paged_attention import PagedBatch

TILE_TOKENS = 64
PROGRAMS_WANTED = 1024
MAX_SPLITS = 32


class TritonPagedAttention:
    """Grids depend on shapes alone, never on lengths, so a CUDA graph can hold them."""

    name = "triton"

    def __call__(self, q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch) -> Tensor:
        rows, heads, width = q.shape
        assert q.stride()[1:] == (width, 1), "heads of a token lie one after the other"
        block_tokens = keys.shape[1]
        splits = num_splits(rows * heads, batch.block_table.shape[1] * block_tokens)
        # greatest score, sum of weights and weighted values of each split
        peaks, weights = (
            torch.empty(rows, heads, splits, device=q.device, dtype=torch.float32) for _ in "pw"
        )
        sums = torch.empty(rows, heads, splits, width, device=q.device, dtype=torch.float32)
        out = q.new_empty(q.shape)
        block_d = triton.next_power_of_2(width)
        _split[(rows, heads, splits)](
            q, keys, values, batch.block_table, batch.lengths, batch.prompts,
            peaks, weights, sums, batch.block_table.stride(0), heads, width, q.stride(0),
            keys.stride(0), keys.stride(1), width**-0.5, splits, WINDOW=batch.window or 0,
            BLOCK_TOKENS=block_tokens, TILE=TILE_TOKENS, BLOCK_D=block_d, num_warps=4,
        )  # fmt: skip
        _merge[(rows, heads)](
            peaks, weights, sums, out, heads, width, splits,
            BLOCK_S=MAX_SPLITS, BLOCK_D=block_d, num_warps=4,
        )  # fmt: skip
        return out


def num_splits(rows: int, capacity: int) -> int:
    """Enough programs to fill the device, each with a tile of tokens at least."""
    return max(1, min(MAX_SPLITS, PROGRAMS_WANTED // rows, -(-capacity // TILE_TOKENS)))


# how many splits there are depends on the batch; a kernel for each would be compiled
@triton.jit(do_not_specialize=["splits"])
def _split(
    q, keys, values, block_table, lengths, prompts, peaks, weights, sums,
    table_stride, heads, width, q_stride, block_stride, token_stride, scale, splits,
    WINDOW: tl.constexpr, BLOCK_TOKENS: tl.constexpr, TILE: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    row, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + row)
    # positions between the prompt and the window are left out: counted on without them
    prompt = length
    gap = 0
    if WINDOW > 0:
        prompt = tl.load(prompts + row)
        gap = tl.maximum(length - WINDOW - prompt, 0)
        length -= gap
    tiles = tl.cdiv(tl.cdiv(length, splits), TILE)
    first = split * tiles * TILE
    last = tl.minimum(first + tiles * TILE, length)
    d = tl.arange(0, BLOCK_D)
    wide = d < width
    query = tl.load(q + row * q_stride + head * width + d, mask=wide, other=0.0).to(tl.float32)
    peak = tl.full((), float("-inf"), tl.float32)
    weight = tl.zeros((), tl.float32)
    total = tl.zeros((BLOCK_D,), tl.float32)
    for start in range(first, last, TILE):
        at = start + tl.arange(0, TILE)
        here = at < last
        at += tl.where(at < prompt, 0, gap)
        block = tl.load(block_table + row * table_stride + at // BLOCK_TOKENS, mask=here, other=0)
        offset = block.to(tl.int64) * block_stride + (at % BLOCK_TOKENS) * token_stride
        where = offset[:, None] + head * width + d[None, :]
        mask = here[:, None] & wide[None, :]
        k = tl.load(keys + where, mask=mask, other=0.0).to(tl.float32)
        score = tl.sum(k * query[None, :], axis=1) * scale
        score = tl.where(here, score, float("-inf"))
        new_peak = tl.maximum(peak, tl.max(score, axis=0))
        share = tl.exp(score - new_peak)
        shrink = tl.exp(peak - new_peak)
        v = tl.load(values + where, mask=mask, other=0.0).to(tl.float32)
        total = total * shrink + tl.sum(v * share[:, None], axis=0)
        weight = weight * shrink + tl.sum(share, axis=0)
        peak = new_peak
    at = (row * heads + head) * splits + split
    tl.store(peaks + at, peak)
    tl.store(weights + at, weight)
    tl.store(sums + at * width + d, total, mask=wide)


@triton.jit(do_not_specialize=["splits"])
def _merge(
    peaks, weights, sums, out, heads, width, splits,
    BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    at = (tl.program_id(0) * heads + tl.program_id(1)) * splits
    s, d = tl.arange(0, BLOCK_S), tl.arange(0, BLOCK_D)
    wide = d < width
    peak = tl.load(peaks + at + s, mask=s < splits, other=float("-inf"))
    top = tl.max(peak, axis=0)
    # a row of length 0 (padding of a graph) has no keys at all: zeros, not NaN
    top = tl.where(top == float("-inf"), 0.0, top)
    share = tl.exp(peak - top)
    weight = tl.load(weights + at + s, mask=s < splits, other=0.0)
    mask = (s < splits)[:, None] & wide[None, :]
    part = tl.load(sums + (at + s)[:, None] * width + d[None, :], mask=mask, other=0.0)
    total = tl.sum(part * share[:, None], axis=0)
    norm = tl.sum(weight * share, axis=0)
    value = total / tl.where(norm == 0.0, 1.0, norm)
    to = out + (tl.program_id(0) * heads + tl.program_id(1)) * width + d
    tl.store(to, value.to(out.dtype.element_ty), mask=wide)
