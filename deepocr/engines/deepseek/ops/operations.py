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
from deepocr.engines.deepseek.ops.experts import ExpertWeights, plain_experts, plain_swiglu
from deepocr.engines.deepseek.ops.norm import plain_add_norm
from deepocr.engines.deepseek.ops.paged_attention import (
    FlashPagedAttention,
    FlashPrefillAttention,
    PagedBatch,
    PlainPagedAttention,
    PlainPrefillAttention,
    PrefillBatch,
    ends_of,
    seen_spans,
)
from deepocr.engines.deepseek.ops.pick import BanRule, Written, plain_pick
from deepocr.engines.deepseek.ops.probes import PLAIN, Operation, Scene, Version
from deepocr.engines.deepseek.ops.rotary import plain_rotary_write
from deepocr.engines.deepseek.ops.routing import plain_route

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


def _triton_norm() -> Any:
    from deepocr.engines.deepseek.ops.norm_triton import add_norm

    return add_norm


def _triton_swiglu() -> Any:
    from deepocr.engines.deepseek.ops.norm_triton import swiglu

    return swiglu


def _triton_routing() -> Any:
    from deepocr.engines.deepseek.ops.routing_triton import route

    return route


def _triton_rotary() -> Any:
    from deepocr.engines.deepseek.ops.rotary_triton import rotary_write

    return rotary_write


def _triton_pick() -> Any:
    from deepocr.engines.deepseek.ops.pick_triton import pick

    return pick


def _not_half(scene: Scene) -> str:
    return "flash-attn has no float32" if scene.dtype == torch.float32 else ""


def _not_half_or_windowed(scene: Scene) -> str:
    if scene.config.decoder.sliding_window is not None:
        return "flash-attn has no window that leaves the prompt in sight"
    return _not_half(scene)


# sample inputs


def _experts(scene: Scene, counts: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """x, ids, weights and the layer's four tensors for so many tokens."""
    config = scene.config.decoder
    hidden, width = config.hidden_size, config.moe_intermediate_size
    num_experts = min(config.n_routed_experts, 2 * config.num_experts_per_tok)
    gate_up = scene.draw(num_experts, 2 * width, hidden, spread=hidden**-0.5)
    down = scene.draw(num_experts, hidden, width, spread=width**-0.5)
    shared = config.n_shared_experts * width
    shared_gate_up = scene.draw(2 * shared, hidden, spread=hidden**-0.5)
    shared_down = scene.draw(hidden, shared, spread=shared**-0.5)
    layer = gate_up, down, shared_gate_up, shared_down
    for tokens in counts:
        scores = scene.draw(tokens, num_experts).float().softmax(dim=-1)
        weights, ids = scores.topk(config.num_experts_per_tok, dim=-1)
        yield scene.draw(tokens, hidden), ids, weights, *layer


def _run_experts(op: Any, arguments: Sequence[Tensor]) -> Tensor:
    x, ids, weights, *layer = arguments
    out: Tensor = op(x, ids, weights, ExpertWeights(*layer))
    return out


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


def _norm(scene: Scene) -> Iterator[tuple[Any, ...]]:
    hidden = scene.config.decoder.hidden_size
    x, delta = scene.draw(2, 3, hidden).unbind(0)
    for added in (None, delta):
        yield x, added, 1 + scene.draw(hidden, spread=0.1), scene.config.decoder.rms_norm_eps


def _swiglu(scene: Scene) -> Iterator[tuple[Tensor, ...]]:
    """Shared experts, and the dense layers."""
    config = scene.config.decoder
    for width in (config.n_shared_experts * config.moe_intermediate_size, config.intermediate_size):
        yield (scene.draw(3, 2 * width),)


def _routing(scene: Scene) -> Iterator[tuple[Any, ...]]:
    config = scene.config.decoder
    shape = config.n_routed_experts, config.hidden_size
    weight = scene.draw(*shape, spread=config.hidden_size**-0.5).float()
    for tokens in (1, 4, 200):
        yield scene.draw(tokens, config.hidden_size), weight, config.num_experts_per_tok, 1.0


def _rotary(scene: Scene) -> Iterator[tuple[Tensor, ...]]:
    """qkv, cosines, sines, keys, values, places."""
    config = scene.config.decoder
    shape = config.num_attention_heads, config.head_width
    turn = scene.draw(5, 2, config.head_width // 2)[:, :, None, None].unbind(1)
    cache = scene.draw(2, 3, BLOCK_TOKENS, *shape).unbind(0)
    places = torch.tensor([BLOCK_TOKENS - 1, 0, 2 * BLOCK_TOKENS, 7, 300], device=scene.device)
    yield scene.draw(5, 3, *shape), *turn, *cache, places


def _run_rotary(op: Any, arguments: Sequence[Tensor]) -> Sequence[Tensor]:
    """What is written over is of this call alone."""
    qkv, cos, sin, keys, values, places = (value.clone() for value in arguments)
    return *op(qkv, (cos, sin), keys, values, places), keys, values


def _pick(scene: Scene) -> Iterator[tuple[Any, ...]]:
    """Logits, history, slots, counts, windows, with the likeliest token banned in one row."""
    logits = scene.draw(3, scene.config.decoder.vocab_size)
    history = torch.zeros(4, 64, dtype=torch.int64)
    history[2, :40] = torch.tensor([5, 6, 7, 8]).repeat(10)
    logits[1, 5] = logits.max() + 1
    rows = torch.tensor([1, 2, 0]), torch.tensor([0, 40, 0]), torch.tensor([20, 20, 20])
    yield logits, *(values.to(scene.device) for values in (history, *rows))


def _run_pick(op: Any, arguments: Sequence[Tensor]) -> Sequence[Tensor]:
    logits, history, *rows = arguments
    written = Written(history.clone(), *rows)
    exempt = torch.tensor([9, 11], device=logits.device)
    return *op(logits, written, BanRule(3, 20, exempt)), written.history


def _prefill(scene: Scene) -> Iterator[tuple[Any, ...]]:
    config = scene.config.decoder
    lengths = (5, 300, 1)
    shape = (sum(lengths), config.num_attention_heads, config.head_width)
    ends = torch.tensor(ends_of(lengths), dtype=torch.int32, device=scene.device)
    yield *scene.draw(3, *shape).unbind(0), PrefillBatch(lengths, ends)


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
        _run_experts,
    ),
    Operation(
        "experts-many",
        (Version("triton", _triton_many),),
        Version(PLAIN, lambda: plain_experts, in_graph=False),
        _many,
        _run_experts,
    ),
    Operation(
        "add-norm",
        (Version("triton", _triton_norm),),
        Version(PLAIN, lambda: plain_add_norm),
        _norm,
    ),
    Operation(
        "swiglu",
        (Version("triton", _triton_swiglu),),
        Version(PLAIN, lambda: plain_swiglu),
        _swiglu,
    ),
    Operation(
        "routing",
        (Version("triton", _triton_routing),),
        Version(PLAIN, lambda: plain_route),
        _routing,
    ),
    Operation(
        "rotary-write",
        (Version("triton", _triton_rotary),),
        Version(PLAIN, lambda: plain_rotary_write),
        _rotary,
        _run_rotary,
    ),
    Operation(
        "pick",
        (Version("triton", _triton_pick),),
        Version(PLAIN, lambda: plain_pick),
        _pick,
        _run_pick,
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
