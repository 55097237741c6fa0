"""Feed-forward layers of the decoder: dense, and a mixture of experts with a shared one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepocr.engines.deepseek.config import DecoderConfig
from deepocr.engines.deepseek.ops.experts import ExpertsOp, swiglu


class DenseMlp(nn.Module):
    """SwiGLU with gate and up in one product: (T, hidden) -> (T, hidden)."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(hidden, 2 * width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(swiglu(self.gate_up_proj(x)))
        return out


class Router(nn.Module):
    """Which experts a token goes to, and with what weight; float32 whatever the network's type."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.top = config.num_experts_per_tok
        self.scale = config.routed_scaling_factor
        self.weight = nn.Parameter(
            torch.empty(config.n_routed_experts, config.hidden_size, dtype=torch.float32)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(T, hidden) -> ids (T, K) int64, weights (T, K) float32, not renormalized."""
        scores = F.linear(x.float(), self.weight).softmax(dim=-1)
        weights, ids = scores.topk(self.top, dim=-1)
        return ids, weights * self.scale


class Experts(nn.Module):
    """Stacked weights of all routed experts: (E, 2 * I, hidden) and (E, hidden, I)."""

    def __init__(self, config: DecoderConfig, op: ExpertsOp) -> None:
        super().__init__()
        count, width = config.n_routed_experts, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(count, 2 * width, config.hidden_size))
        self.down_proj = nn.Parameter(torch.empty(count, config.hidden_size, width))
        self.op = op

    def forward(self, x: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        return self.op(x, ids, weights, self.gate_up_proj, self.down_proj)


class MoeMlp(nn.Module):
    """Routed experts plus the shared ones, which are one SwiGLU as wide as all of them."""

    def __init__(self, config: DecoderConfig, op: ExpertsOp) -> None:
        super().__init__()
        self.gate = Router(config)
        self.experts = Experts(config, op)
        shared = config.n_shared_experts * config.moe_intermediate_size
        self.shared_experts = DenseMlp(config.hidden_size, shared)

    def forward(self, x: Tensor) -> Tensor:
        ids, weights = self.gate(x)
        out: Tensor = self.experts(x, ids, weights) + self.shared_experts(x)
        return out
