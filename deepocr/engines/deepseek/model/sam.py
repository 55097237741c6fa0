"""SAM ViT-B with DeepSeek-OCR's two halving convolutions behind its neck.

Facts: the published weight names and the official implementation. Grids are (N, G, G, C), channels
last, until the neck.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepocr.engines.deepseek.config import SamConfig
from deepocr.engines.deepseek.ops import AttentionOps

RelativeTables = tuple[Tensor, Tensor]
"""Rows and columns, each (G, G, D): [i, k] is the vector for a query at i and a key at k."""


class SamEncoder(nn.Module):
    """pixels (N, 3, S, S) -> features (N, net_3's width, S / 64, S / 64)."""

    def __init__(self, config: SamConfig, attention: AttentionOps) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = nn.Parameter(
            torch.empty(1, config.table_side, config.table_side, config.width)
        )
        self.blocks = nn.ModuleList(
            SamBlock(config, index in config.global_attn_indexes, attention)
            for index in range(config.layers)
        )
        neck, (half, quarter) = config.neck_width, config.downsample_channels
        self.neck = nn.Sequential(
            nn.Conv2d(config.width, neck, 1, bias=False),
            ChannelNorm(neck, config.norm_eps),
            nn.Conv2d(neck, neck, 3, padding=1, bias=False),
            ChannelNorm(neck, config.norm_eps),
        )
        self.net_2 = nn.Conv2d(neck, half, 3, stride=2, padding=1, bias=False)
        self.net_3 = nn.Conv2d(half, quarter, 3, stride=2, padding=1, bias=False)
        self.positions: dict[int, Tensor] = {}

    def prepare(self, sides_px: Iterable[int]) -> None:
        """Resize the position tables for views of these sides, once, after loading."""
        for grid in sorted({side // self.config.patch_px for side in sides_px}):
            self.positions[grid] = resize_table(self.pos_embed.detach(), grid)
            for module in self.modules():
                if isinstance(module, SamAttention):
                    module.prepare(grid)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patch_embed(pixels)
        x = x + self.positions[x.shape[1]]
        for block in self.blocks:
            x = block(x)
        x = self.neck(x.permute(0, 3, 1, 2))
        out: Tensor = self.net_3(self.net_2(x))
        return out


class PatchEmbed(nn.Module):
    """pixels (N, 3, S, S) -> patches (N, G, G, C)."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.width, config.patch_px, stride=config.patch_px)

    def forward(self, pixels: Tensor) -> Tensor:
        patches: Tensor = self.proj(pixels)
        return patches.permute(0, 2, 3, 1)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of (N, C, H, W)."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class SamBlock(nn.Module):
    """Pre-norm block. Windows of 14 unless global; the padding of the last windows takes part."""

    def __init__(self, config: SamConfig, is_global: bool, attention: AttentionOps) -> None:
        super().__init__()
        self.window = 0 if is_global else config.window
        self.norm1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.attn = SamAttention(config, is_global, attention)
        self.norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = SamMlp(config)

    def forward(self, x: Tensor) -> Tensor:
        """(N, G, G, C) -> the same."""
        inner = self.norm1(x)
        if self.window:
            windows = into_windows(inner, self.window)
            inner = out_of_windows(self.attn(windows), self.window, x.shape)
        else:
            inner = self.attn(inner)
        x = x + inner
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class SamAttention(nn.Module):
    """Attention over a grid with decomposed relative positions."""

    def __init__(self, config: SamConfig, is_global: bool, attention: AttentionOps) -> None:
        super().__init__()
        self.heads = config.heads
        side = config.table_side if is_global else config.window
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)
        self.rel_pos_h = nn.Parameter(torch.empty(2 * side - 1, config.head_width))
        self.rel_pos_w = nn.Parameter(torch.empty(2 * side - 1, config.head_width))
        self.window = 0 if is_global else config.window
        self.attention = attention
        self.relative: dict[int, RelativeTables] = {}

    def prepare(self, grid: int) -> None:
        """Write out the tables for a grid; windows have the same size in every grid."""
        size = self.window or grid
        self.relative[size] = (
            relative_table(self.rel_pos_h.detach(), size),
            relative_table(self.rel_pos_w.detach(), size),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, G, G, C) -> the same, N views or windows."""
        count, grid, _, width = x.shape
        qkv = self.qkv(x).view(count, grid * grid, 3, self.heads, -1)
        q, k, v = qkv.unbind(2)
        rows, columns = self.relative[grid]
        on_grid = q.view(count, grid, grid, self.heads, -1)
        # the query is not scaled here, unlike in its product with the keys
        rel_h = torch.einsum("nijhd,ikd->nijhk", on_grid, rows).flatten(1, 2)
        rel_w = torch.einsum("nijhd,jkd->nijhk", on_grid, columns).flatten(1, 2)
        out = self.attention.relative(q, k, v, rel_h, rel_w)
        projected: Tensor = self.proj(out.reshape(count, grid, grid, width))
        return projected


class SamMlp(nn.Module):
    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.lin1 = nn.Linear(config.width, config.mlp_ratio * config.width)
        self.lin2 = nn.Linear(config.mlp_ratio * config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin2(F.gelu(self.lin1(x)))
        return out


def into_windows(x: Tensor, window: int) -> Tensor:
    """(N, G, G, C) -> (N * windows, window, window, C), zeros where the grid is too small."""
    count, grid, _, width = x.shape
    missing = -grid % window
    x = F.pad(x, (0, 0, 0, missing, 0, missing))
    across = (grid + missing) // window
    x = x.view(count, across, window, across, window, width)
    return x.transpose(2, 3).reshape(-1, window, window, width)


def out_of_windows(windows: Tensor, window: int, shape: torch.Size) -> Tensor:
    """The reverse of `into_windows`; `shape` is the grid's, and padding is dropped."""
    count, grid, _, width = shape
    across = -(-grid // window)
    x = windows.view(count, across, across, window, window, width)
    x = x.transpose(2, 3).reshape(count, across * window, across * window, width)
    return x[:, :grid, :grid]


def resize_table(table: Tensor, grid: int) -> Tensor:
    """Position table (1, G, G, C) -> (1, grid, grid, C), bicubic with antialias in float32."""
    if table.shape[1] == grid:
        return table
    resized = F.interpolate(
        table.permute(0, 3, 1, 2).float(),
        size=(grid, grid),
        mode="bicubic",
        antialias=True,
        align_corners=False,
    )
    return resized.permute(0, 2, 3, 1).to(table.dtype).contiguous()


def relative_table(table: Tensor, size: int) -> Tensor:
    """Vectors by distance (L, D) -> (size, size, D) by query and key, linear in float32."""
    length = 2 * size - 1
    if table.shape[0] != length:
        by_width = table.float().t().unsqueeze(0)
        resized = F.interpolate(by_width, size=length, mode="linear", align_corners=False)
        table = resized.squeeze(0).t().to(table.dtype)
    at = torch.arange(size, device=table.device)
    return table[at[:, None] - at[None, :] + size - 1].contiguous()
