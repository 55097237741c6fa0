"""Keys and values of all running sequences, in blocks; what the decoder attends to in a step.

`PrefillKeyValues` and `DecodeKeyValues` are the decoder's `KeyValues` for one step each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepocr.engines.deepseek.config import DecoderConfig
from deepocr.engines.deepseek.ops.paged_attention import (
    PagedAttentionOp,
    PagedBatch,
    PrefillAttentionOp,
    windowed_causal,
)

BLOCK_TOKENS = 256
"""flash-attn's paged decode takes multiples of 256."""


class BlockCache:
    """The tensors behind a BlockPool: (layers, 2, blocks, block_tokens, H, D)."""

    def __init__(
        self,
        config: DecoderConfig,
        num_blocks: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
        block_tokens: int = BLOCK_TOKENS,
    ) -> None:
        heads, width = config.num_attention_heads, config.head_width
        shape = (config.num_hidden_layers, 2, num_blocks, block_tokens, heads, width)
        # on the host, pages of memory are only taken when they are first written
        self.blocks = torch.empty(shape, device=device, dtype=dtype)
        if device.type == "cuda":
            # what a masked product multiplies by zero must not be NaN
            self.blocks.zero_()
        self.block_tokens = block_tokens

    def write(self, layer: int, k: Tensor, v: Tensor, places: Tensor) -> None:
        """k and v (T, H, D) to places (T,), each block * block_tokens + offset."""
        keys, values = self.blocks[layer].flatten(1, 2).unbind(0)
        keys.index_copy_(0, places, k)
        values.index_copy_(0, places, v)


def block_bytes(config: DecoderConfig, dtype: torch.dtype, block_tokens: int = BLOCK_TOKENS) -> int:
    """Bytes of one block over all layers."""
    a_token = 2 * config.num_hidden_layers * config.num_attention_heads * config.head_width
    return a_token * block_tokens * dtype.itemsize


@dataclass(frozen=True)
class PrefillKeyValues:
    """Whole sequences that see only themselves. With a `window`, tokens behind the prompt (of
    `prompts` tokens each) see that and the last `window` of theirs."""

    cache: BlockCache
    places: Tensor
    lengths: Sequence[int]
    prompts: Sequence[int]
    window: int | None
    op: PrefillAttentionOp

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.cache.write(layer, k, v, self.places)
        if self.window is None or self.lengths == self.prompts:
            return self.op(q, k, v, self.lengths)
        found = []
        each = zip(*(torch.split(x, list(self.lengths)) for x in (q, k, v)), strict=True)
        for (q, k, v), prompt in zip(each, self.prompts, strict=True):
            found.append(self.op(q[:prompt], k[:prompt], v[:prompt], [prompt]))
            if q.shape[0] > prompt:
                found.append(windowed_causal(q, k, v, prompt, self.window))
        return torch.cat(found)


@dataclass(frozen=True)
class DecodeKeyValues:
    """The last token of each sequence."""

    cache: BlockCache
    places: Tensor
    batch: PagedBatch
    op: PagedAttentionOp

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.cache.write(layer, k, v, self.places)
        keys, values = self.cache.blocks[layer].unbind(0)
        return self.op(q, keys, values, self.batch)
