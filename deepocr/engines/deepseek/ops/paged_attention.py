"""Attention over keys and values that lie in blocks, for sequences of any lengths at once.

The cache of a layer is two tensors (blocks, block_tokens, H, D). A sequence's block table lists
its blocks in order; position p lies in block p // block_tokens of it. The plain versions stand
here beside flash-attn's; `paged_attention_triton` has the kernel for CUDA without flash-attn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from deepocr.engines.deepseek.ops.attention import AttentionOps

Span = tuple[int, int]


@dataclass(frozen=True)
class PagedBatch:
    """One decode step of B sequences: where each one's blocks are, and how long it is.

    block_table (B, blocks) int32, lengths (B,) int32 with the token of this step counted, prompts
    (B,) int32, how many of these are the prompt's. With a `window`, only the prompt and the last
    `window` tokens are seen, and blocks of those between are 0 in the table.
    `host_blocks` and `host_spans` (positions that are seen, as start and end) are the same on the
    host, for versions that loop there.
    """

    block_table: Tensor
    lengths: Tensor
    prompts: Tensor
    window: int | None = None
    host_blocks: tuple[tuple[int, ...], ...] = ()
    host_spans: tuple[tuple[Span, ...], ...] = ()


def seen_spans(prompt: int, length: int, window: int | None) -> tuple[Span, ...]:
    """The positions that the last of `length` tokens sees."""
    if window is None or length - window <= prompt:
        return ((0, length),)
    return ((0, prompt), (length - window, length))


class PagedAttentionOp(Protocol):
    """One query a sequence against all its keys."""

    @property
    def name(self) -> str: ...

    def __call__(self, q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch) -> Tensor:
        """q (B, H, D), keys and values (blocks, block_tokens, H, D) -> (B, H, D)."""
        ...


class PlainPagedAttention:
    """Sequence by sequence with SDPA, on any device.

    A single stretch of the cache is read in place; several are gathered first.
    """

    name = "plain"

    def __call__(self, q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch) -> Tensor:
        out = torch.empty_like(q)
        for row, (blocks, spans) in enumerate(
            zip(batch.host_blocks, batch.host_spans, strict=True)
        ):
            # (1, H, tokens seen, D)
            k, v = (
                _in_order(cache, blocks, spans).transpose(0, 1).unsqueeze(0)
                for cache in (keys, values)
            )
            query = q[row].unsqueeze(0).unsqueeze(2)
            out[row] = F.scaled_dot_product_attention(query, k, v)[0, :, 0]
        return out


def _in_order(cache: Tensor, blocks: Sequence[int], spans: Sequence[Span]) -> Tensor:
    """(blocks, block_tokens, H, D) and a block list -> (tokens of the spans, H, D)."""
    flat = cache.flatten(0, 1)
    runs = [run for span in spans for run in cache_runs(blocks, span, cache.shape[1])]
    return torch.cat([flat[run] for run in runs]) if len(runs) > 1 else flat[runs[0]]


def cache_runs(blocks: Sequence[int], span: Span, block_tokens: int) -> Iterator[slice]:
    """Stretches of the cache, in tokens, that hold a span of positions: blocks that follow each
    other are one stretch."""
    at, end = span
    while at < end:
        last = at // block_tokens
        start = blocks[last] * block_tokens + at % block_tokens
        while (last + 1) * block_tokens < end and blocks[last + 1] == blocks[last] + 1:
            last += 1
        stop = min((last + 1) * block_tokens, end)
        yield slice(start, start + stop - at)
        at = stop


class FlashPagedAttention:
    """flash-attn's decode over a block table; blocks of a multiple of 256 tokens, half precision,
    no window.

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


@dataclass(frozen=True)
class PrefillBatch:
    """Whole sequences of these lengths, one after the other in one row; where they begin and end
    is on the device as well, (sequences + 1,) int32."""

    lengths: tuple[int, ...]
    ends: Tensor


def ends_of(lengths: Sequence[int]) -> list[int]:
    """Where sequences of these lengths begin, one after the other, and where the last one ends."""
    return [0, *accumulate(lengths)]


class PrefillAttentionOp(Protocol):
    """Whole sequences, each causal."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, batch: PrefillBatch) -> Tensor:
        """All (T, H, D) with T the sum of the lengths -> (T, H, D)."""
        ...


@dataclass(frozen=True)
class PlainPrefillAttention:
    """Sequence by sequence."""

    attention: AttentionOps

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, batch: PrefillBatch) -> Tensor:
        parts = zip(*(torch.split(x, list(batch.lengths)) for x in (q, k, v)), strict=True)
        return torch.cat([self.attention.causal(*part) for part in parts])


WINDOW_ROWS = 512
"""Tokens of a sequence under a window that are attended at a time."""


def windowed_causal(q: Tensor, k: Tensor, v: Tensor, prompt: int, window: int) -> Tensor:
    """The written tokens of one sequence, all (T, H, D) -> (T - prompt, H, D): each sees the prompt
    and the last `window` tokens."""
    parts = []
    for start in range(prompt, q.shape[0], WINDOW_ROWS):
        end = min(start + WINDOW_ROWS, q.shape[0])
        first = max(prompt, start - window + 1)
        rows_at, keys_at = (torch.arange(at, end, device=q.device) for at in (start, first))
        back = rows_at[:, None] - keys_at
        seen = F.pad((back >= 0) & (back < window), (prompt, 0), value=True)
        keys, values = (torch.cat([x[:prompt], x[first:end]]).transpose(0, 1) for x in (k, v))
        rows = q[start:end].transpose(0, 1)
        out = F.scaled_dot_product_attention(rows[None], keys[None], values[None], attn_mask=seen)
        parts.append(out[0].transpose(0, 1))
    return torch.cat(parts)


class FlashPrefillAttention:
    """flash-attn's varlen kernel: all sequences in one call. Importing is the caller's to guard."""

    def __init__(self) -> None:
        from flash_attn import flash_attn_varlen_func

        self._attend = flash_attn_varlen_func

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, batch: PrefillBatch) -> Tensor:
        longest = max(batch.lengths)
        out: Tensor = self._attend(q, k, v, batch.ends, batch.ends, longest, longest, causal=True)
        return out
