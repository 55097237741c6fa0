"""Routing and grouping in Triton: scores, then softmax, the best experts and their weights; tokens
in blocks of one expert each. Run on Triton 3.2 and later."""

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from deepocr.engines.deepseek.ops.experts import group_by_expert

SCORED_ONE_BY_ONE = 128
"""Up to so many tokens each read the router's weights for themselves, out of the cache; more are
one matrix product."""

EXPERTS_A_PROGRAM = 4

GROUPED_PAIRS = 1024
"""Up to so many pairs of token and expert are grouped by one kernel, each program of which sees
all of them; more (a prefill) are sorted."""

COUNTED_PAIRS = 64


def route(x: Tensor, weight: Tensor, top: int, scale: float) -> tuple[Tensor, Tensor]:
    """As `ops.routing.plain_route`."""
    tokens, num_experts = x.shape[0], weight.shape[0]
    ids = torch.empty(tokens, top, dtype=torch.int64, device=x.device)
    weights = torch.empty(tokens, top, dtype=torch.float32, device=x.device)
    _choose[(tokens,)](
        _scores(x, weight), ids, weights, num_experts, scale,
        TOP=top, BLOCK=triton.next_power_of_2(num_experts), num_warps=1,
    )  # fmt: skip
    return ids, weights


def _scores(x: Tensor, weight: Tensor) -> Tensor:
    """x (T, hidden) -> (T, E) float32."""
    tokens, hidden = x.shape
    if tokens > SCORED_ONE_BY_ONE:
        return F.linear(x.float(), weight)
    num_experts = weight.shape[0]
    scores = torch.empty(tokens, num_experts, dtype=torch.float32, device=x.device)
    _score[(tokens, triton.cdiv(num_experts, EXPERTS_A_PROGRAM))](
        x.contiguous(), weight, scores, num_experts, hidden,
        ROWS=EXPERTS_A_PROGRAM, BLOCK=triton.next_power_of_2(hidden), num_warps=4,
    )  # fmt: skip
    return scores


def group(ids: Tensor, num_experts: int, block_m: int) -> tuple[Tensor, Tensor]:
    """As `ops.experts.group_by_expert`."""
    pairs = ids.numel()
    if pairs > GROUPED_PAIRS:
        return group_by_expert(ids, num_experts, block_m)
    num_blocks = pairs // block_m + min(pairs, num_experts)
    places = torch.empty(num_blocks * block_m, dtype=torch.int64, device=ids.device)
    block_expert = torch.empty(num_blocks, dtype=torch.int64, device=ids.device)
    experts = max(triton.next_power_of_2(num_experts), 64)
    # one program an expert, and one for the blocks that stay empty
    _group[(num_experts + 1,)](
        ids, places, block_expert, pairs, num_blocks, num_experts, BLOCK_M=block_m,
        EXPERTS=experts, PAIRS=GROUPED_PAIRS, CHUNK=COUNTED_PAIRS, num_warps=4,
    )  # fmt: skip
    return places, block_expert


@triton.jit
def _score(x, weight, scores, num_experts, hidden, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    token = tl.program_id(0)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    at = tl.arange(0, BLOCK)
    here, inside = rows < num_experts, at < hidden
    value = tl.load(x + token * hidden + at, mask=inside, other=0.0).to(tl.float32)
    mask = here[:, None] & inside[None, :]
    tile = tl.load(weight + rows[:, None] * hidden + at[None, :], mask=mask, other=0.0)
    score = tl.sum(tile * value[None, :], axis=1)
    tl.store(scores + token * num_experts + rows, score, mask=here)


@triton.jit
def _choose(scores, ids, weights, num_experts, scale, TOP: tl.constexpr, BLOCK: tl.constexpr):
    token = tl.program_id(0)
    expert = tl.arange(0, BLOCK)
    known = expert < num_experts
    score = tl.load(scores + token * num_experts + expert, mask=known, other=float("-inf"))
    share = tl.exp(score - tl.max(score, axis=0))
    share = share / tl.sum(share, axis=0)
    # what is no number ranks last, but among the experts that there are
    left = tl.where(known, tl.where(share == share, share, 0.0), -1.0)
    for k in range(TOP):
        best = tl.argmax(left, axis=0)
        chosen = expert == best
        weight = tl.sum(tl.where(chosen, share, 0.0), axis=0)
        tl.store(ids + token * TOP + k, best.to(tl.int64))
        tl.store(weights + token * TOP + k, weight * scale)
        left = tl.where(chosen, -2.0, left)


# counts change with every batch: no kernel of its own for those that 16 divides
@triton.jit(do_not_specialize=["pairs", "num_blocks", "num_experts"])
def _group(
    ids, places, block_expert, pairs, num_blocks, num_experts,
    BLOCK_M: tl.constexpr, EXPERTS: tl.constexpr, PAIRS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    own = tl.program_id(0)
    expert = tl.arange(0, EXPERTS)
    counts = tl.zeros((EXPERTS,), tl.int32)
    for start in range(0, pairs, CHUNK):
        pair = start + tl.arange(0, CHUNK)
        chosen = tl.load(ids + pair, mask=pair < pairs, other=-1).to(tl.int32)
        counts += tl.sum((chosen[:, None] == expert[None, :]).to(tl.int32), axis=0)
    blocks = (counts + BLOCK_M - 1) // BLOCK_M
    first = tl.sum(tl.where(expert < own, blocks, 0), axis=0)
    count = tl.sum(tl.where(expert == own, counts, 0), axis=0)
    pair = tl.arange(0, PAIRS)
    mine = tl.load(ids + pair, mask=pair < pairs, other=-1).to(tl.int32) == own
    rank = tl.cumsum(mine.to(tl.int32), axis=0) - 1
    tl.store(places + first * BLOCK_M + rank, pair.to(tl.int64), mask=mine)
    # rows behind the last pair of an expert, and all rows of blocks that no expert needs
    last = first + (count + BLOCK_M - 1) // BLOCK_M
    if own == num_experts:
        last = num_blocks
    m = tl.arange(0, BLOCK_M)
    for block in range(first, last):
        row = block * BLOCK_M + m
        empty = row >= first * BLOCK_M + count
        tl.store(places + row, tl.zeros_like(row).to(tl.int64) + pairs, mask=empty)
        tl.store(block_expert + block, own.to(tl.int64))
