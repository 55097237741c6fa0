"""Attention where PyTorch's own is slow on a CPU: one query over a long cache, and SAM's bias.

SDPA packs its operands for matrix products; with a single query that costs several times what the
products themselves do, and a written-out bias costs as much as the attention it is for. Both are
done here in float32, which is no less exact.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from deepocr.engines.deepseek.ops.attention import SdpaAttention
from deepocr.engines.deepseek.ops.paged_attention import PagedBatch, cache_runs

SCORE_ROWS = 256
"""Queries whose scores are held at a time; those of one head then stay in the cache."""

LONG = 1024
"""Positions from which each head is attended alone; below (windows of 196) many together."""

WINDOWS = 8
"""Windows attended together: 15 MB of scores at 12 heads."""


class CpuAttention(SdpaAttention):
    """SDPA but where SAM's bias is added."""

    name = "sdpa, SAM in float32"

    def relative(self, q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
        operands = (q, k, v, rel_h, rel_w)
        if q.shape[1] < LONG:
            parts = zip(*(torch.split(x, WINDOWS) for x in operands), strict=True)
            return torch.cat([_all_heads(*part) for part in parts])
        out = torch.empty_like(q)
        for view in range(q.shape[0]):
            for head in range(q.shape[2]):
                out[view, :, head] = _one_head(*(x[view, :, head] for x in operands))
        return out


def _all_heads(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """All (N, T, H, ..) -> (N, T, H, D)."""
    count, length, heads, _ = q.shape
    q, k, v, rel_h, rel_w = (x.transpose(1, 2).flatten(0, 1) for x in (q, k, v, rel_h, rel_w))
    out = _attend_biased(q, k.float().transpose(1, 2), v, rel_h, rel_w)
    return out.view(count, heads, length, -1).transpose(1, 2)


def _one_head(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """q, k, v (T, D), rel_h (T, G_h), rel_w (T, G_w) -> (T, D), some rows at a time."""
    keys, values = k.float().t()[None], v.contiguous()[None]
    rows = zip(*(torch.split(x[None], SCORE_ROWS, 1) for x in (q, rel_h, rel_w)), strict=True)
    return torch.cat([_attend_biased(a, keys, values, b, c)[0] for a, b, c in rows])


def _attend_biased(q: Tensor, keys: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """q (B, R, D), keys (B, D, S) in float32, v (B, S, D), biases (B, R, G) -> (B, R, D)."""
    scores = (rel_h[..., :, None].float() + rel_w[..., None, :]).flatten(2)
    torch.baddbmm(scores, q.float(), keys, alpha=q.shape[-1] ** -0.5, out=scores)
    return scores.softmax(dim=-1).to(v.dtype) @ v


class CpuPagedAttention:
    """Sequence by sequence over its runs of blocks, which are read in place."""

    name = "cpu"

    def __call__(self, q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch) -> Tensor:
        queries = q.float() * q.shape[-1] ** -0.5
        rows = zip(queries, batch.host_blocks, batch.host_spans, strict=True)
        flat = keys.flatten(0, 1), values.flatten(0, 1)
        found = []
        for query, blocks, spans in rows:
            runs = [run for span in spans for run in cache_runs(blocks, span, keys.shape[1])]
            found.append(_attend(query, *flat, runs))
        return torch.stack(found).to(q.dtype)


def _attend(query: Tensor, keys: Tensor, values: Tensor, stretches: Sequence[slice]) -> Tensor:
    """query (H, D), scaled; keys and values (tokens of the cache, H, D) -> (H, D).

    Element by element: products of matrices with a single row or column are slower.
    """
    scores = torch.cat([(keys[run].float() * query).sum(dim=2) for run in stretches])
    shares = torch.split(scores.softmax(dim=0), [run.stop - run.start for run in stretches])
    written = [
        (values[run].float() * share[:, :, None]).sum(dim=0)
        for run, share in zip(stretches, shares, strict=True)
    ]
    return torch.stack(written).sum(dim=0)
