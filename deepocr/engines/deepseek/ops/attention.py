"""Attention behind one contract: SDPA everywhere, flash-attn where it works.

Chosen once for a device by `choice.choose_ops`; the network never asks which it is.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

BIAS_ROWS = 512
"""Queries for which SAM's position bias is written out at a time: all 4,096 of a 1024 view would
take 403 MB in bf16."""


class AttentionOps(Protocol):
    """The three kinds of attention in the network. T queries, S keys, H heads, D wide."""

    @property
    def name(self) -> str: ...

    def causal(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One sequence: q (T, H, D) are the last T positions of k, v (S, H, D) -> (T, H, D)."""
        ...

    def full(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Every query sees every key: (N, T, H, D) -> (N, T, H, D)."""
        ...

    def relative(self, q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
        """As `full` over a grid of T = G_h * G_w, with a bias by relative position.

        rel_h (N, T, H, G_h) and rel_w (N, T, H, G_w): query t and the key at row r, column c get
        rel_h[.., t, .., r] + rel_w[.., t, .., c] added to their scaled product.
        """
        ...


class SdpaAttention:
    """PyTorch's own, on any device and in any type."""

    name = "sdpa"

    def causal(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        queries, keys = q.shape[0], k.shape[0]
        q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in (q, k, v))
        if queries == 1:
            out = F.scaled_dot_product_attention(q, k, v)
        elif queries == keys:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            # is_causal lines up the first positions; here the last ones belong together
            seen = torch.ones(queries, keys, dtype=torch.bool, device=q.device)
            mask = seen.tril(diagonal=keys - queries)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out.squeeze(0).transpose(0, 1)

    def full(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)

    def relative(self, q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
        q, k, v, rel_h, rel_w = (x.transpose(1, 2) for x in (q, k, v, rel_h, rel_w))
        pieces = []
        for start in range(0, q.shape[2], BIAS_ROWS):
            rows = slice(start, start + BIAS_ROWS)
            bias = rel_h[:, :, rows, :, None] + rel_w[:, :, rows, None, :]
            pieces.append(
                F.scaled_dot_product_attention(q[:, :, rows], k, v, attn_mask=bias.flatten(3))
            )
        return torch.cat(pieces, dim=2).transpose(1, 2)


class FlashAttention(SdpaAttention):
    """flash-attn for causal and full attention; it takes no bias, so `relative` stays SDPA's.

    Half precision on CUDA only. Importing this class's package is the caller's to guard.
    """

    name = "flash-attn"

    def __init__(self) -> None:
        from flash_attn import flash_attn_func

        self._attend = flash_attn_func

    def causal(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        # flash-attn lines up the last positions, as the contract says
        out: Tensor = self._attend(q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), causal=True)
        return out.squeeze(0)

    def full(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Tensor = self._attend(q, k, v)
        return out
