"""Every operation that has fast versions, one entry each: versions, plain version, sample inputs.

Samples have the published sizes of a layer and few tokens, so that what a probe compiles is what
pages need later.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from deepocr.engines.deepseek.family import member_of
from deepocr.engines.deepseek.kv_cache import BLOCK_TOKENS
from deepocr.engines.deepseek.ops.attention import AttentionOps, FlashAttention, SdpaAttention
from deepocr.engines.deepseek.ops.experts import plain_experts
from deepocr.engines.deepseek.ops.paged_attention import (
    FlashPagedAttention,
    FlashPrefillAttention,
    PagedBatch,
    PlainPagedAttention,
    PlainPrefillAttention,
    seen_spans,
)
from deepocr.engines.deepseek.ops.probes import PLAIN, Operation, Scene, Version

BIAS_IN_KERNEL_FROM = 1024
"""Positions from which SAM's bias is added inside a kernel; in windows it is small."""


# versions whose packages may be missing


def _triton_few() -> Any:
    from deepocr.engines.deepseek.ops.experts_triton import experts_gemv

    return experts_gemv


def _triton_many() -> Any:
    from deepocr.engines.deepseek.ops.experts_triton import experts_grouped

    return experts_grouped


def _triton_paged() -> Any:
    from deepocr.engines.deepseek.ops.paged_attention_triton import TritonPagedAttention

    return TritonPagedAttention()


def _triton_sam() -> Any:
    from deepocr.engines.deepseek.ops.sam_attention_triton import relative_attention

    return relative_attention


def _not_half(scene: Scene) -> str:
    return "flash-attn has no float32" if scene.dtype == torch.float32 else ""


def _not_half_or_windowed(scene: Scene) -> str:
    if scene.config.decoder.sliding_window is not None:
        return "flash-attn has no window that leaves the prompt in sight"
    return _not_half(scene)


# sample inputs


def _experts(scene: Scene, counts: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """x, ids, weights, gate_up, down for so many tokens."""
    config = scene.config.decoder
    hidden, width = config.hidden_size, config.moe_intermediate_size
    num_experts = min(config.n_routed_experts, 2 * config.num_experts_per_tok)
    gate_up = scene.draw(num_experts, 2 * width, hidden, spread=hidden**-0.5)
    down = scene.draw(num_experts, hidden, width, spread=width**-0.5)
    for tokens in counts:
        scores = scene.draw(tokens, num_experts).float().softmax(dim=-1)
        weights, ids = scores.topk(config.num_experts_per_tok, dim=-1)
        yield scene.draw(tokens, hidden), ids, weights, gate_up, down


def _few(scene: Scene) -> Iterator[tuple[Any, ...]]:
    return _experts(scene, (1, 3))


def _many(scene: Scene) -> Iterator[tuple[Any, ...]]:
    """Tokens for each of its sizes of tiles."""
    return _experts(scene, (4, 200, 600))


def _paged(scene: Scene) -> Iterator[tuple[Any, ...]]:
    """q, keys, values and a batch of ragged lengths in scattered blocks."""
    config = scene.config.decoder
    heads, width = config.num_attention_heads, config.head_width
    lengths, blocks = (1, 300, 65, 2 * BLOCK_TOKENS), ((3,), (6, 2), (5,), (1, 4))
    prompts = tuple(1 + length // 2 for length in lengths)
    window = config.sliding_window
    batch = PagedBatch(
        torch.tensor([[*row, *(0,) * (2 - len(row))] for row in blocks]).int().to(scene.device),
        torch.tensor(lengths).int().to(scene.device),
        torch.tensor(prompts).int().to(scene.device),
        window,
        blocks,
        tuple(seen_spans(*pair, window) for pair in zip(prompts, lengths, strict=True)),
    )
    keys, values = scene.draw(2, 7, BLOCK_TOKENS, heads, width).unbind(0)
    for rows in (1, len(lengths)):
        part = PagedBatch(
            batch.block_table[:rows], batch.lengths[:rows], batch.prompts[:rows], window,
            batch.host_blocks[:rows], batch.host_spans[:rows],
        )  # fmt: skip
        yield scene.draw(rows, heads, width), keys, values, part


def _prefill(scene: Scene) -> Iterator[tuple[Any, ...]]:
    config = scene.config.decoder
    lengths = (5, 300, 1)
    shape = (sum(lengths), config.num_attention_heads, config.head_width)
    yield *scene.draw(3, *shape).unbind(0), lengths


def _encoder(scene: Scene) -> Iterator[tuple[Tensor, ...]]:
    config = scene.config.encoder
    yield scene.draw(3, 1, 257, config.heads, config.width // config.heads).unbind(0)


def _attend_twice(attention: AttentionOps, qkv: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """CLIP sees all; the second half of Qwen2's queries only those before them."""
    (q,), (k,), (v,) = qkv
    return attention.full(*qkv), attention.causal(q[128:], k, v)


def _sam(scene: Scene) -> Iterator[tuple[Tensor, ...]]:
    """Each grid that a preset has. q, k and v are not contiguous, as they come of one product."""
    sam = scene.config.sam
    for side in member_of(scene.config).view_sides_px:
        grid = side // sam.patch_px
        if grid**2 >= BIAS_IN_KERNEL_FROM:
            q, k, v = scene.draw(1, grid**2, 3, sam.heads, sam.head_width).unbind(2)
            rel_h, rel_w = scene.draw(2, 1, grid**2, sam.heads, grid).unbind(0)
            yield q, k, v, rel_h, rel_w


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "experts-few",
        (Version("triton", _triton_few),),
        Version(PLAIN, lambda: plain_experts, in_graph=False),
        _few,
    ),
    Operation(
        "experts-many",
        (Version("triton", _triton_many),),
        Version(PLAIN, lambda: plain_experts, in_graph=False),
        _many,
    ),
    Operation(
        "paged-attention",
        (
            Version("flash-attn", FlashPagedAttention, _not_half_or_windowed),
            Version("triton", _triton_paged),
        ),
        Version(PLAIN, PlainPagedAttention, in_graph=False),
        _paged,
    ),
    Operation(
        "prefill-attention",
        (Version("flash-attn", FlashPrefillAttention, _not_half),),
        Version(PLAIN, lambda: PlainPrefillAttention(SdpaAttention())),
        _prefill,
        in_step=False,
    ),
    Operation(
        "encoder-attention",
        (Version("flash-attn", FlashAttention, _not_half),),
        Version(PLAIN, SdpaAttention),
        _encoder,
        _attend_twice,
        in_step=False,
    ),
    Operation(
        "sam-attention",
        (Version("triton", _triton_sam),),
        Version(PLAIN, lambda: SdpaAttention().relative),
        _sam,
        in_step=False,
    ),
)
