"""Which experts a token goes to: the plain version."""

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor


class RouteOp(Protocol):
    """Scores, softmax, the best and their weights; float32 whatever the network's type."""

    def __call__(self, x: Tensor, weight: Tensor, top: int, scale: float) -> tuple[Tensor, Tensor]:
        """x (T, hidden), weight (E, hidden) float32 -> ids (T, K) int64 and their weights (T, K)
        float32 times `scale`, not renormalized, the best first."""
        ...


def plain_route(x: Tensor, weight: Tensor, top: int, scale: float) -> tuple[Tensor, Tensor]:
    scores = F.linear(x.float(), weight).softmax(dim=-1)
    weights, ids = scores.topk(top, dim=-1)
    return ids, weights * scale
