"""A mixture of experts over stacked weights: the plain version."""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ExpertWeights:
    """Routed experts stacked, gate_up (E, 2 * I, hidden), gate rows first, and down (E, hidden, I);
    the shared ones as one that is S times as wide, (2 * S * I, hidden) and (hidden, S * I)."""

    gate_up: Tensor
    down: Tensor
    shared_gate_up: Tensor
    shared_down: Tensor


class ExpertsOp(Protocol):
    """What a MoE layer calls for its experts."""

    def __call__(self, x: Tensor, ids: Tensor, weights: Tensor, layer: ExpertWeights) -> Tensor:
        """x (T, hidden), ids (T, K) int64, weights (T, K) float32 -> (T, hidden) in x's type.

        Each expert is computed in x's type; the sum of a token's K routed ones is weighted in
        float32 and rounded before the shared one is added.
        """
        ...


class SwigluOp(Protocol):
    """The middle of an MLP."""

    def __call__(self, gate_up: Tensor) -> Tensor:
        """(..., 2 * I), gate first -> (..., I)."""
        ...


FEW_TOKENS = 3
"""Up to so many tokens read their experts' weights one by one; `tl.dot` wants 16 rows."""


def experts_by_tokens(few: ExpertsOp, many: ExpertsOp) -> ExpertsOp:
    """One operation of two that may want contiguous tensors."""

    def experts(x: Tensor, ids: Tensor, weights: Tensor, layer: ExpertWeights) -> Tensor:
        run = few if x.shape[0] <= FEW_TOKENS else many
        return run(x.contiguous(), ids.contiguous(), weights.contiguous(), layer)

    return experts


def plain_experts(x: Tensor, ids: Tensor, weights: Tensor, layer: ExpertWeights) -> Tensor:
    routed = routed_experts(x, ids, weights, layer.gate_up, layer.down)
    inner = plain_swiglu(F.linear(x, layer.shared_gate_up))
    return routed + F.linear(inner, layer.shared_down)


def routed_experts(
    x: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor
) -> Tensor:
    """Tokens sorted by expert, one matrix product an expert that was hit.

    An expert's weights are read in place, never gathered.
    """
    chosen = ids.flatten()
    order = chosen.argsort(stable=True)
    counts = torch.bincount(chosen, minlength=gate_up.shape[0]).tolist()
    written = x.new_empty(chosen.shape[0], x.shape[1])
    start = 0
    for expert, count in enumerate(counts):
        if not count:
            continue
        places = order[start : start + count]
        inner = plain_swiglu(F.linear(x[places // ids.shape[1]], gate_up[expert]))
        written[places] = F.linear(inner, down[expert])
        start += count
    each = written.view(*ids.shape, -1).float()
    return (each * weights.unsqueeze(-1)).sum(dim=1).to(x.dtype)


def plain_swiglu(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


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
