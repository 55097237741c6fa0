"""Attention where PyTorch's own is slow on a CPU: one query over a long cache, and SAM's bias.

SDPA packs its operands for matrix products; with a single query that costs eight times the
products themselves, and a written-out bias costs as much as the attention it is for. Both are
done here with plain matrix products in float32, which is no less exact.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from deepocr.engines.deepseek.ops.attention import SdpaAttention
from deepocr.engines.deepseek.ops.paged_attention import PagedBatch

SCORE_ROWS = 256
"""Queries whose scores are held at a time; those of one head then stay in the cache."""

LONG = 1024
"""Positions from which that is faster than SDPA; windows of 196 are not."""


class CpuAttention(SdpaAttention):
    """SDPA but for SAM's global attention."""

    name = "sdpa, SAM by rows"

    def relative(self, q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
        if q.shape[1] < LONG:
            return super().relative(q, k, v, rel_h, rel_w)
        out = torch.empty_like(q)
        for view in range(q.shape[0]):
            for head in range(q.shape[2]):
                operands = (x[view, :, head] for x in (q, k, v, rel_h, rel_w))
                out[view, :, head] = _one_head(*operands)
        return out


def _one_head(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """q, k, v (T, D), rel_h (T, G_h), rel_w (T, G_w) -> (T, D)."""
    keys, values = k.float().t(), v.contiguous()
    scale = q.shape[-1] ** -0.5
    parts = []
    for start in range(0, q.shape[0], SCORE_ROWS):
        rows = slice(start, start + SCORE_ROWS)
        scores = (rel_h[rows, :, None].float() + rel_w[rows, None, :]).flatten(1)
        torch.addmm(scores, q[rows].float(), keys, alpha=scale, out=scores)
        parts.append(scores.softmax(dim=-1).to(values.dtype) @ values)
    return torch.cat(parts)


class CpuPagedAttention:
    """Sequence by sequence over its runs of blocks, which are read in place."""

    name = "cpu"

    def __call__(self, q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch) -> Tensor:
        queries = q.float() * q.shape[-1] ** -0.5
        rows = zip(queries, batch.host_blocks, batch.host_lengths, strict=True)
        flat = keys.flatten(0, 1), values.flatten(0, 1)
        found = [_attend(query, *flat, _runs(at, n, keys.shape[1])) for query, at, n in rows]
        return torch.stack(found).to(q.dtype)


def _attend(query: Tensor, keys: Tensor, values: Tensor, runs: Iterator[slice]) -> Tensor:
    """query (H, D), scaled; keys and values (tokens of the cache, H, D) -> (H, D)."""
    stretches = list(runs)
    # (H, n, D) of each stretch, widened once; heads stay where they are
    parts = [keys[run].float().transpose(0, 1) @ query[:, :, None] for run in stretches]
    scores = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    shares = scores.softmax(dim=1).transpose(1, 2)
    if len(stretches) == 1:
        return (shares @ values[stretches[0]].float().transpose(0, 1)).squeeze(1)
    counts = [run.stop - run.start for run in stretches]
    pieces = zip(torch.split(shares, counts, dim=2), stretches, strict=True)
    written = [share @ values[run].float().transpose(0, 1) for share, run in pieces]
    return torch.stack(written).sum(dim=0).squeeze(1)


def _runs(blocks: Sequence[int], length: int, block_tokens: int) -> Iterator[slice]:
    """Stretches of the cache, in tokens, that hold a sequence: blocks that follow each other
    are one stretch."""
    first = 0
    for at in range(1, len(blocks) + 1):
        if at == len(blocks) or blocks[at] != blocks[at - 1] + 1:
            tokens = min(at * block_tokens, length) - first * block_tokens
            start = blocks[first] * block_tokens
            yield slice(start, start + tokens)
            first = at
