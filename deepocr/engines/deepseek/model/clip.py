"""CLIP-L over SAM's features. It has no norm at its end and uses no patch embedding of its own."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from deepocr.engines.deepseek.config import ClipConfig
from deepocr.engines.deepseek.model.sam import resize_table
from deepocr.engines.deepseek.ops import AttentionOps


class ClipEncoder(nn.Module):
    """SAM features (N, C, G, G) -> (N, 1 + G * G, C), class token first."""

    def __init__(self, config: ClipConfig, attention: AttentionOps) -> None:
        super().__init__()
        self.embeddings = ClipEmbeddings(config)
        # published spelling
        self.pre_layrnorm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.transformer = ClipTransformer(config, attention)

    def prepare(self, grids: Iterable[int]) -> None:
        """Resize the position table for grids of features, once, after loading."""
        self.embeddings.prepare(grids)

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.transformer(self.pre_layrnorm(self.embeddings(features)))
        return out


class ClipEmbeddings(nn.Module):
    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.side = config.table_side
        self.class_embedding = nn.Parameter(torch.empty(config.width))
        self.position_embedding = nn.Embedding(1 + self.side**2, config.width)
        self.positions: dict[int, Tensor] = {}

    def prepare(self, grids: Iterable[int]) -> None:
        table = self.position_embedding.weight.detach()
        on_grid = table[1:].view(1, self.side, self.side, -1)
        for grid in set(grids):
            resized = resize_table(on_grid, grid).view(grid * grid, -1)
            self.positions[grid] = torch.cat([table[:1], resized])

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, G, G) -> (N, 1 + G * G, C)."""
        count, width, grid, _ = features.shape
        patches = features.flatten(2).transpose(1, 2)
        start = self.class_embedding.expand(count, 1, width)
        return torch.cat([start, patches], dim=1) + self.positions[grid]


class ClipTransformer(nn.Module):
    def __init__(self, config: ClipConfig, attention: AttentionOps) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ClipLayer(config, attention) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class ClipLayer(nn.Module):
    """Pre-norm block."""

    def __init__(self, config: ClipConfig, attention: AttentionOps) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.self_attn = ClipAttention(config, attention)
        self.layer_norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = ClipMlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        out: Tensor = x + self.mlp(self.layer_norm2(x))
        return out


class ClipAttention(nn.Module):
    def __init__(self, config: ClipConfig, attention: AttentionOps) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv_proj = nn.Linear(config.width, 3 * config.width)
        self.out_proj = nn.Linear(config.width, config.width)
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C) -> the same."""
        count, length, width = x.shape
        q, k, v = self.qkv_proj(x).view(count, length, 3, self.heads, -1).unbind(2)
        out = self.attention.full(q, k, v).reshape(count, length, width)
        projected: Tensor = self.out_proj(out)
        return projected


class ClipMlp(nn.Module):
    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.mlp_width)
        self.fc2 = nn.Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.fc1(x)
        # quick GELU
        out: Tensor = self.fc2(inner * torch.sigmoid(1.702 * inner))
        return out
