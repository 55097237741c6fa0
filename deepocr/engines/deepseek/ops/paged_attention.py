"""Attention over keys and values that lie in blocks, for sequences of any lengths at once.

The cache of a layer is two tensors (blocks, block_tokens, H, D). A sequence's block table lists
its blocks in order; position p lies in block p // block_tokens of it. The plain versions stand
here beside flash-attn's; `paged_attention_triton` has the kernel for CUDA without flash-attn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from deepocr.engines.deepseek.ops.attention import AttentionOps


@dataclass(frozen=True)
class PagedBatch:
    """One decode step of B sequences: where each one's blocks are, and how long it is.

    block_table (B, blocks) int32, lengths (B,) int32 with the token of this step counted.
    `host_blocks` and `host_lengths` are the same on the host, for versions that loop there.
    """

    block_table: Tensor
    lengths: Tensor
    host_blocks: tuple[tuple[int, ...], ...] = ()
    host_lengths: tuple[int, ...] = ()


class PagedAttentionOp(Protocol):
    """One query a sequence against all its keys."""

    @property
    def name(self) -> str: ...

    def __call__(self, q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch) -> Tensor:
        """q (B, H, D), keys and values (blocks, block_tokens, H, D) -> (B, H, D)."""
        ...


class PlainPagedAttention:
    """Sequence by sequence with SDPA, on any device.

    Blocks that follow each other are read in place; others are gathered first.
    """

    name = "plain"

    def __call__(self, q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch) -> Tensor:
        out = torch.empty_like(q)
        for row, (blocks, length) in enumerate(
            zip(batch.host_blocks, batch.host_lengths, strict=True)
        ):
            # (1, H, length, D)
            k, v = (
                _in_order(cache, blocks)[:length].transpose(0, 1).unsqueeze(0)
                for cache in (keys, values)
            )
            query = q[row].unsqueeze(0).unsqueeze(2)
            out[row] = F.scaled_dot_product_attention(query, k, v)[0, :, 0]
        return out


def _in_order(cache: Tensor, blocks: Sequence[int]) -> Tensor:
    """(blocks, block_tokens, H, D) and a block list -> (tokens, H, D)."""
    first, count = blocks[0], len(blocks)
    if list(blocks) == list(range(first, first + count)):
        return cache[first : first + count].flatten(0, 1)
    return cache[torch.tensor(blocks, device=cache.device)].flatten(0, 1)


class FlashPagedAttention:
    """flash-attn's decode over a block table; blocks of a multiple of 256 tokens, half precision.

    Importing the package is the caller's to guard.
    """

    name = "flash-attn"

    def __init__(self) -> None:
        from flash_attn import flash_attn_with_kvcache

        self._attend = flash_attn_with_kvcache

    def __call__(self, q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch) -> Tensor:
        out: Tensor = self._attend(
            q.unsqueeze(1),
            keys,
            values,
            cache_seqlens=batch.lengths,
            block_table=batch.block_table,
            causal=True,
        )
        return out.squeeze(1)


class PrefillAttentionOp(Protocol):
    """Whole sequences of different lengths, one after the other in one row, each causal."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
        """All (T, H, D) with T the sum of the lengths -> (T, H, D)."""
        ...


@dataclass(frozen=True)
class PlainPrefillAttention:
    """Sequence by sequence."""

    attention: AttentionOps

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
        parts = zip(*(torch.split(x, list(lengths)) for x in (q, k, v)), strict=True)
        return torch.cat([self.attention.causal(*part) for part in parts])


class FlashPrefillAttention:
    """flash-attn's varlen kernel: all sequences in one call. Importing is the caller's to guard."""

    def __init__(self) -> None:
        from flash_attn import flash_attn_varlen_func

        self._attend = flash_attn_varlen_func

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
        ends = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=q.device)
        longest = max(lengths)
        out: Tensor = self._attend(q, k, v, ends, ends, longest, longest, causal=True)
        return out
