"""Batches of sequences over blocks, as a decode step hands them to attention."""

from collections.abc import Sequence

import torch

from deepocr.engines.deepseek.ops.paged_attention import PagedBatch, seen_spans


def paged_batch(
    blocks: Sequence[Sequence[int]],
    lengths: Sequence[int],
    *,
    prompts: Sequence[int] = (),
    window: int | None = None,
    device: str = "cpu",
) -> PagedBatch:
    """Sequences of these lengths in these blocks; without a window prompts do not matter."""
    prompts = prompts or lengths
    longest = max(map(len, blocks))
    table = [[*row, *(0,) * (longest - len(row))] for row in blocks]
    spans = (seen_spans(p, n, window) for p, n in zip(prompts, lengths, strict=True))
    return PagedBatch(
        torch.tensor(table, device=device).int(),
        torch.tensor(lengths, device=device).int(),
        torch.tensor(prompts, device=device).int(),
        window,
        tuple(map(tuple, blocks)),
        tuple(spans),
    )
