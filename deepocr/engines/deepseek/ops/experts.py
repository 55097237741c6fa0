"""Routed experts over stacked weights: the plain version.

Stacked means gate_up (E, 2 * I, hidden), gate rows first, and down (E, hidden, I).
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class ExpertsOp(Protocol):
    """What a MoE layer calls for its routed experts."""

    def __call__(
        self, x: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor
    ) -> Tensor:
        """x (T, hidden), ids (T, K) int64, weights (T, K) float32 -> (T, hidden) in x's type.

        Each token's K experts are computed in x's type; their sum is weighted in float32.
        """
        ...


FEW_TOKENS = 3
"""Up to so many tokens read their experts' weights one by one; `tl.dot` wants 16 rows."""


def experts_by_tokens(few: ExpertsOp, many: ExpertsOp) -> ExpertsOp:
    """One operation of two that may want contiguous tensors."""

    def experts(x: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        run = few if x.shape[0] <= FEW_TOKENS else many
        return run(x.contiguous(), ids.contiguous(), weights.contiguous(), gate_up, down)

    return experts


def plain_experts(x: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
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
        inner = swiglu(F.linear(x[places // ids.shape[1]], gate_up[expert]))
        written[places] = F.linear(inner, down[expert])
        start += count
    each = written.view(*ids.shape, -1).float()
    return (each * weights.unsqueeze(-1)).sum(dim=1).to(x.dtype)


def swiglu(gate_up: Tensor) -> Tensor:
    """(..., 2 * I), gate first -> (..., I)."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up
