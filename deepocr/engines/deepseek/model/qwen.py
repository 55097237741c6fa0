"""Qwen2 as an encoder: SAM's features and learned queries in, what the queries have gathered out.

SAM's features see each other, a query sees all of these and the queries before it.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from deepocr.engines.deepseek.config import QwenConfig
from deepocr.engines.deepseek.model.decoder import RmsNorm, Rotary
from deepocr.engines.deepseek.model.moe import DenseMlp
from deepocr.engines.deepseek.ops import AttentionOps
from deepocr.engines.deepseek.ops.rotary import Turn, rotate

GRIDS = (12, 16)
"""Features on a side of the views that there are queries for: 768 and 1024 pixels."""


class QwenEncoder(nn.Module):
    """SAM features (N, C, G, G) -> (N, G * G, C)."""

    def __init__(self, config: QwenConfig, attention: AttentionOps) -> None:
        super().__init__()
        # as published; each holds a query for every feature of its view
        self.query_768 = nn.Embedding(GRIDS[0] ** 2, config.width)
        self.query_1024 = nn.Embedding(GRIDS[1] ** 2, config.width)
        self.layers = nn.ModuleList(QwenLayer(config, attention) for _ in range(config.layers))
        self.norm = RmsNorm(config.width, config.norm_eps)
        self.rotary = Rotary(config.head_width, config.rope_theta, 2 * GRIDS[1] ** 2)

    def prepare(self, grids: Iterable[int]) -> None:
        """Write the table of rotary positions, once, after loading."""
        assert set(grids) <= set(GRIDS), "there are no queries for other views"
        self.rotary.prepare(self.norm.weight.device)

    def forward(self, features: Tensor) -> Tensor:
        count, _, grid, _ = features.shape
        queries = dict(zip(GRIDS, (self.query_768, self.query_1024), strict=True))[grid].weight
        x = torch.cat([features.flatten(2).transpose(1, 2), queries.expand(count, -1, -1)], dim=1)
        cos, sin = self.rotary(torch.arange(x.shape[1], device=x.device), x.dtype)
        turn = cos.squeeze(1), sin.squeeze(1)
        for layer in self.layers:
            x = layer(x, turn)
        out: Tensor = self.norm(x[:, grid**2 :])
        return out


class QwenLayer(nn.Module):
    """Pre-norm block."""

    def __init__(self, config: QwenConfig, attention: AttentionOps) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(config.width, config.norm_eps)
        self.self_attn = QwenAttention(config, attention)
        self.post_attention_layernorm = RmsNorm(config.width, config.norm_eps)
        self.mlp = DenseMlp(config.width, config.mlp_width)

    def forward(self, x: Tensor, turn: Turn) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), turn)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class QwenAttention(nn.Module):
    """Several heads of queries to each head of keys; the second half of the row is causal."""

    def __init__(self, config: QwenConfig, attention: AttentionOps) -> None:
        super().__init__()
        self.width, self.shared = config.head_width, config.heads // config.kv_heads
        keys = config.kv_heads * config.head_width
        self.q_proj = nn.Linear(config.width, config.width)
        self.k_proj = nn.Linear(config.width, keys)
        self.v_proj = nn.Linear(config.width, keys)
        self.o_proj = nn.Linear(config.width, config.width, bias=False)
        self.attention = attention

    def forward(self, x: Tensor, turn: Turn) -> Tensor:
        """(N, T, C) -> the same; the first T / 2 are SAM's features."""
        count, length, _ = x.shape
        q, k, v = (
            proj(x).view(count, length, -1, self.width)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, turn), rotate(k, turn)
        k, v = (part.repeat_interleave(self.shared, dim=2) for part in (k, v))
        half = length // 2
        seen = self.attention.full(q[:, :half], k[:, :half], v[:, :half])
        asked = [self.attention.causal(q[n, half:], k[n], v[n]) for n in range(count)]
        out: Tensor = self.o_proj(torch.cat([seen, torch.stack(asked)], dim=1).flatten(2))
        return out
