"""Attention where PyTorch's own is slow on a CPU: one query over a long cache, and SAM's bias.

SDPA packs its operands for matrix products; with a single query that costs several times what the
products themselves do, and a bias that is written out costs as much as the attention it is for.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from deepocr.engines.deepseek.ops.attention import AttentionOps, SdpaAttention
from deepocr.engines.deepseek.ops.paged_attention import PagedBatch, cache_runs
from deepocr.engines.deepseek.ops.processor import Products

MAX_SCORES = 1 << 20
"""Scores held at a time: 4 MB, which stay in the processor's cache until they are used up."""


class PiecewiseAttention(SdpaAttention):
    """SDPA but where SAM's bias is added: there in float32, some queries of a head at a time."""

    name = "sdpa, SAM in float32"

    def relative(self, q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
        views, length, heads, _ = q.shape
        out = torch.empty_like(q)
        for part in _parts(views, heads, length):
            queries, keys, values, *bias = (
                x[part].transpose(1, 2).contiguous() for x in (q, k, v, rel_h, rel_w)
            )
            operands = self._prepared(keys, values)
            rows = (torch.split(x, max(1, MAX_SCORES // length), 2) for x in (queries, *bias))
            pieces = [self._attend(*operands, *piece) for piece in zip(*rows, strict=True)]
            out[part] = torch.cat(pieces, 2).transpose(1, 2)
        return out

    def _prepared(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """What the queries of a head share, made once."""
        return keys.float(), values.float()

    def _attend(
        self, keys: Tensor, values: Tensor, queries: Tensor, rel_h: Tensor, rel_w: Tensor
    ) -> Tensor:
        """All (N, H, .., ..): S prepared keys and values, R queries with their biases
        -> (N, H, R, D)."""
        shape = (*queries.shape[:3], rel_h.shape[3], rel_w.shape[3])
        # in three dimensions: `matmul` of four copies the transposed keys every time
        wide = (queries.float() * queries.shape[3] ** -0.5).flatten(0, 1)
        scores = torch.bmm(wide, keys.flatten(0, 1).transpose(1, 2))
        on_grid = scores.view(shape)
        on_grid += rel_h[..., :, None]
        on_grid += rel_w[..., None, :]
        out = torch.bmm(scores.softmax(dim=2).to(values.dtype), values.flatten(0, 1))
        return out.view_as(queries).to(queries.dtype)


class OneDnnAttention(PiecewiseAttention):
    """Scores in float32 still, but by oneDNN; the values' sums in bf16."""

    name = "sdpa, SAM by oneDNN"

    def relative(self, q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
        with bf16_factors():
            return super().relative(q, k, v, rel_h, rel_w)

    def _prepared(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return keys.float(), values


class MaskedAttention(PiecewiseAttention):
    """SDPA for SAM as well, with the bias of a piece as its mask, in float32."""

    name = "sdpa, SAM's bias by pieces"

    def _prepared(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return keys, values

    def _attend(
        self, keys: Tensor, values: Tensor, queries: Tensor, rel_h: Tensor, rel_w: Tensor
    ) -> Tensor:
        bias = (rel_h[..., :, None].float() + rel_w[..., None, :]).flatten(3)
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)


CPU_ATTENTION: Mapping[Products, AttentionOps] = {
    "amx": MaskedAttention(),
    "avx512_bf16": OneDnnAttention(),
    "float32": PiecewiseAttention(),
}


@contextmanager
def bf16_factors() -> Iterator[None]:
    """Lets oneDNN round the factors of float32 products to bf16, which changes nothing where they
    came from bf16. Its kernels are twice as fast as MKL's on processors of other makers, and only
    under this setting does PyTorch call them. It holds for the whole process: nobody else may
    compute meanwhile."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _parts(views: int, heads: int, length: int) -> Iterator[tuple[slice, slice, slice]]:
    """Views and heads (in the first and third place) that are attended together: as many views as
    have few enough scores, or head by head."""
    everything = slice(None)
    if together := MAX_SCORES // (heads * length**2):
        for start in range(0, views, together):
            yield slice(start, start + together), everything, everything
        return
    for view in range(views):
        for head in range(heads):
            yield slice(view, view + 1), everything, slice(head, head + 1)


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

    Scores element by element: products of matrices with a single row or column are slower. The
    weighted sum of values is an embedding's, which reads them once and in place.
    """
    scores = torch.cat([(keys[run] * query).sum(dim=2) for run in stretches])
    shares = scores.t().contiguous().softmax(dim=1).to(values.dtype)
    tokens = torch.cat([torch.arange(run.start, run.stop) for run in stretches])
    heads = shares.shape[0]
    places = tokens * heads + torch.arange(heads)[:, None]
    return F.embedding_bag(places, values.flatten(0, 1), per_sample_weights=shares, mode="sum")
