"""The decoder: hidden states of any number of sequences in, hidden states out.

Tokens of all sequences lie in one row (T, hidden); which belong together, and where their keys
and values are kept, is known only to the `KeyValues` object that is handed in.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from deepocr.engines.deepseek.config import DecoderConfig
from deepocr.engines.deepseek.model.moe import DenseMlp, MoeMlp
from deepocr.engines.deepseek.ops import AddNormOp, AttentionOps, Ops
from deepocr.engines.deepseek.ops.norm import plain_add_norm
from deepocr.engines.deepseek.ops.rotary import Turn, rotate_qkv


class KeyValues(Protocol):
    """Keys and values of the sequences in a step, plain or paged."""

    def attend(self, layer: int, qkv: Tensor, turn: Turn) -> Tensor:
        """Turn q and k, keep k and v of this step's tokens, then attend.

        qkv (T, 3, H, D), which may be written over -> (T, H, D).
        """
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

    def attend(self, layer: int, qkv: Tensor, turn: Turn) -> Tensor:
        q, k, v = rotate_qkv(qkv, turn)
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

    def __init__(self, width: int, eps: float, op: AddNormOp = plain_add_norm) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps
        self.op = op

    def forward(self, x: Tensor) -> Tensor:
        return self.add(x, None)[1]

    def add(self, x: Tensor, delta: Tensor | None) -> tuple[Tensor, Tensor]:
        """x + delta, and the norm of it."""
        return self.op(x, delta, self.weight, self.eps)


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

    def forward(self, positions: Tensor, dtype: torch.dtype) -> Turn:
        cos, sin = self.table[positions].to(dtype)[:, :, None, None].unbind(1)
        return cos, sin


class DecoderAttention(nn.Module):
    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.width = config.num_attention_heads, config.head_width
        self.qkv_proj = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, turn: Turn, cache: KeyValues) -> Tensor:
        """(T, hidden) -> (T, hidden)."""
        qkv = self.qkv_proj(x).view(-1, 3, self.heads, self.width)
        out = cache.attend(self.layer, qkv, turn)
        projected: Tensor = self.o_proj(out.reshape(x.shape))
        return projected


class DecoderLayer(nn.Module):
    """Pre-norm block; the first layers are dense, the others mixtures of experts."""

    def __init__(self, config: DecoderConfig, layer: int, ops: Ops) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RmsNorm(hidden, eps, ops.add_norm)
        self.self_attn = DecoderAttention(config, layer)
        self.post_attention_layernorm = RmsNorm(hidden, eps, ops.add_norm)
        self.mlp = (
            DenseMlp(hidden, config.intermediate_size, ops.swiglu)
            if layer < config.first_k_dense_replace
            else MoeMlp(config, ops)
        )

    def forward(
        self, x: Tensor, normed: Tensor, turn: Turn, cache: KeyValues, next_norm: RmsNorm
    ) -> tuple[Tensor, Tensor]:
        """x and its norm, both (T, hidden) -> the same behind this layer. The norm of the next
        layer is computed here, together with the addition before it."""
        x, normed = self.post_attention_layernorm.add(x, self.self_attn(normed, turn, cache))
        return next_norm.add(x, self.mlp(normed))


class Decoder(nn.Module):
    """Token embedding, layers, final norm. `lm_head` belongs to the whole model."""

    def __init__(self, config: DecoderConfig, ops: Ops) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            DecoderLayer(config, layer, ops) for layer in range(config.num_hidden_layers)
        )
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps, ops.add_norm)
        self.rotary = Rotary(config.head_width, config.rope_theta, config.max_position_embeddings)

    def forward(self, hidden: Tensor, positions: Tensor, cache: KeyValues) -> Tensor:
        """hidden (T, hidden) at positions (T,) -> hidden after the final norm, (T, hidden)."""
        turn = self.rotary(positions, hidden.dtype)
        norms: list[Any] = [*(layer.input_layernorm for layer in self.layers), self.norm]
        normed: Tensor = norms[0](hidden)
        for layer, next_norm in zip(self.layers, norms[1:], strict=True):
            hidden, normed = layer(hidden, normed, turn, cache, next_norm)
        return normed
