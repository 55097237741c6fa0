"""Feed-forward layers of the decoder: dense, and a mixture of experts with a shared one."""

import torch
from torch import Tensor, nn

from deepocr.engines.deepseek.config import DecoderConfig
from deepocr.engines.deepseek.ops import ExpertsOp, Ops, RouteOp, SwigluOp
from deepocr.engines.deepseek.ops.experts import ExpertWeights, plain_swiglu


class DenseMlp(nn.Module):
    """SwiGLU with gate and up in one product: (T, hidden) -> (T, hidden)."""

    def __init__(self, hidden: int, width: int, swiglu: SwigluOp = plain_swiglu) -> None:
        super().__init__()
        self.swiglu = swiglu
        self.gate_up_proj = nn.Linear(hidden, 2 * width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(self.swiglu(self.gate_up_proj(x)))
        return out


class Router(nn.Module):
    """Which experts a token goes to, and with what weight; float32 whatever the network's type."""

    def __init__(self, config: DecoderConfig, op: RouteOp) -> None:
        super().__init__()
        self.op = op
        self.top = config.num_experts_per_tok
        self.scale = config.routed_scaling_factor
        self.weight = nn.Parameter(
            torch.empty(config.n_routed_experts, config.hidden_size, dtype=torch.float32)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(T, hidden) -> ids (T, K) int64, weights (T, K) float32, not renormalized."""
        return self.op(x, self.weight, self.top, self.scale)


class Experts(nn.Module):
    """Stacked weights of all routed experts: (E, 2 * I, hidden) and (E, hidden, I)."""

    def __init__(self, config: DecoderConfig, op: ExpertsOp) -> None:
        super().__init__()
        count, width = config.n_routed_experts, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(count, 2 * width, config.hidden_size))
        self.down_proj = nn.Parameter(torch.empty(count, config.hidden_size, width))
        self.op = op

    def forward(self, x: Tensor, ids: Tensor, weights: Tensor, shared: DenseMlp) -> Tensor:
        """What the routed experts make of x (T, hidden), and the shared ones -> (T, hidden)."""
        layer = ExpertWeights(
            self.gate_up_proj,
            self.down_proj,
            shared.gate_up_proj.weight,
            shared.down_proj.weight,
        )
        return self.op(x, ids, weights, layer)


class MoeMlp(nn.Module):
    """Routed experts plus the shared ones, which are one SwiGLU as wide as all of them."""

    def __init__(self, config: DecoderConfig, ops: Ops) -> None:
        super().__init__()
        self.gate = Router(config, ops.route)
        self.experts = Experts(config, ops.experts)
        shared = config.n_shared_experts * config.moe_intermediate_size
        self.shared_experts = DenseMlp(config.hidden_size, shared)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.experts(x, *self.gate(x), self.shared_experts)
        return out
