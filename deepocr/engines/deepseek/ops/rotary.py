"""Queries and keys turned by their positions, keys and values kept: the plain version."""

from typing import Protocol

import torch
from torch import Tensor

Turn = tuple[Tensor, Tensor]
"""Cosines and sines of each token's position, each (T, 1, 1, D / 2)."""


class RotaryWriteOp(Protocol):
    """What an attention layer does with its product before it attends."""

    def __call__(
        self, qkv: Tensor, turn: Turn, keys: Tensor, values: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """qkv (T, 3, H, D), which may be written over -> q and k turned, and v, all (T, H, D).

        k and v also go into a layer's cache, (blocks, block_tokens, H, D) each, to places (T,)
        int64, each block * block_tokens + offset.
        """
        ...


def rotate(x: Tensor, turn: Turn) -> Tensor:
    """x (T, .., H, D) turned: the first half of D is paired with the second."""
    cos, sin = turn
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def rotate_qkv(qkv: Tensor, turn: Turn) -> tuple[Tensor, Tensor, Tensor]:
    """(T, 3, H, D) -> q and k turned, and v, all (T, H, D)."""
    q, k = rotate(qkv[:, :2], turn).unbind(1)
    return q, k, qkv[:, 2]


def plain_rotary_write(
    qkv: Tensor, turn: Turn, keys: Tensor, values: Tensor, places: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = rotate_qkv(qkv, turn)
    keys.flatten(0, 1).index_copy_(0, places, k)
    values.flatten(0, 1).index_copy_(0, places, v)
    return q, k, v
