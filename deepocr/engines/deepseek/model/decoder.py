"""The decoder: hidden states of any number of sequences in, hidden states out.

Tokens of all sequences lie in one row (T, hidden); which belong together, and where their keys
and values are kept, is known only to the `KeyValues` object that is handed in.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from deepocr.engines.deepseek.config import DecoderConfig
from deepocr.engines.deepseek.model.moe import DenseMlp, MoeMlp
from deepocr.engines.deepseek.ops import AttentionOps, Ops


class KeyValues(Protocol):
    """Keys and values of the sequences in a step, plain or paged."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Keep k and v of this step's tokens, then attend: all (T, H, D) -> (T, H, D)."""
        ...


class PlainKeyValues:
    """One sequence in one contiguous buffer (layers, 2, capacity, H, D).

    The caller counts: `advance(T)` after a step of T tokens. Under a sliding window the first step
    is the whole prompt, and those after it are of one token.
    """

    def __init__(
        self,
        config: DecoderConfig,
        capacity: int,
        attention: AttentionOps,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        shape = (config.num_hidden_layers, 2, capacity, config.num_attention_heads)
        self.buffer = torch.empty(*shape, config.head_width, device=device, dtype=dtype)
        self.length = self.prompt = 0
        self.window = config.sliding_window
        self.attention = attention

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        end = self.length + q.shape[0]
        keys, values = self.buffer[layer]
        keys[self.length : end] = k
        values[self.length : end] = v
        if self.window and self.length and end - self.window > self.prompt:
            keys, values = (
                torch.cat([x[: self.prompt], x[end - self.window : end]]) for x in (keys, values)
            )
            return self.attention.causal(q, keys, values)
        return self.attention.causal(q, keys[:end], values[:end])

    def advance(self, tokens: int) -> None:
        self.prompt = self.prompt or tokens
        self.length += tokens


class RmsNorm(nn.Module):
    """Root mean square norm over the last dimension, float32 inside."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class Rotary(nn.Module):
    """Rotary positions in the half-rotation layout, tables in float32 for the whole context."""

    def __init__(self, width: int, theta: float, context: int) -> None:
        super().__init__()
        self.width, self.theta, self.context = width, theta, context
        self.table = torch.empty(0)

    def prepare(self, device: torch.device, rates_dtype: torch.dtype = torch.float32) -> None:
        """Write the table: (context, 2, D / 2), cosines first. Counted in float32 on the host,
        so that every device turns by the same angles.

        `rates_dtype` bfloat16 first rounds the turns per position, as happens to the official
        code when its whole model is cast to bfloat16; docs/network.md has the difference.
        """
        even = torch.arange(0, self.width, 2, dtype=torch.float32)
        rates = (1.0 / self.theta ** (even / self.width)).to(rates_dtype).float()
        angles = torch.arange(self.context, dtype=torch.float32)[:, None] * rates
        self.table = torch.stack([angles.cos(), angles.sin()], dim=1).to(device)

    def forward(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """positions (T,) -> cosines and sines, each (T, 1, 1, D / 2)."""
        cos, sin = self.table[positions].to(dtype)[:, :, None, None].unbind(1)
        return cos, sin


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """x (T, .., H, D) turned: the first half of D is paired with the second."""
    cos, sin = turn
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class DecoderAttention(nn.Module):
    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.width = config.num_attention_heads, config.head_width
        self.qkv_proj = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], cache: KeyValues) -> Tensor:
        """(T, hidden) -> (T, hidden)."""
        qkv = self.qkv_proj(x).view(-1, 3, self.heads, self.width)
        # queries and keys turn together
        q, k = rotate(qkv[:, :2], turn).unbind(1)
        out = cache.attend(self.layer, q, k, qkv[:, 2])
        projected: Tensor = self.o_proj(out.reshape(x.shape))
        return projected


class DecoderLayer(nn.Module):
    """Pre-norm block; the first layers are dense, the others mixtures of experts."""

    def __init__(self, config: DecoderConfig, layer: int, ops: Ops) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RmsNorm(hidden, eps)
        self.self_attn = DecoderAttention(config, layer)
        self.post_attention_layernorm = RmsNorm(hidden, eps)
        self.mlp = (
            DenseMlp(hidden, config.intermediate_size)
            if layer < config.first_k_dense_replace
            else MoeMlp(config, ops.experts)
        )

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], cache: KeyValues) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), turn, cache)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Decoder(nn.Module):
    """Token embedding, layers, final norm. `lm_head` belongs to the whole model."""

    def __init__(self, config: DecoderConfig, ops: Ops) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            DecoderLayer(config, layer, ops) for layer in range(config.num_hidden_layers)
        )
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary = Rotary(config.head_width, config.rope_theta, config.max_position_embeddings)

    def forward(self, hidden: Tensor, positions: Tensor, cache: KeyValues) -> Tensor:
        """hidden (T, hidden) at positions (T,) -> hidden after the final norm, (T, hidden)."""
        turn = self.rotary(positions, hidden.dtype)
        for layer in self.layers:
            hidden = layer(hidden, turn, cache)
        out: Tensor = self.norm(hidden)
        return out
