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
    PrefillBatch,
    windowed_causal,
)
from deepocr.engines.deepseek.ops.rotary import RotaryWriteOp, Turn

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

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values, (blocks, block_tokens, H, D) each."""
        keys, values = self.blocks[index].unbind(0)
        return keys, values


def block_bytes(config: DecoderConfig, dtype: torch.dtype, block_tokens: int = BLOCK_TOKENS) -> int:
    """Bytes of one block over all layers."""
    a_token = 2 * config.num_hidden_layers * config.num_attention_heads * config.head_width
    return a_token * block_tokens * dtype.itemsize


@dataclass(frozen=True)
class PrefillKeyValues:
    """Whole sequences that see only themselves. With a `window`, tokens behind the prompt see
    that and the last `window` of theirs: `prompts` are then batches of one prompt each."""

    cache: BlockCache
    places: Tensor
    batch: PrefillBatch
    rotary_write: RotaryWriteOp
    op: PrefillAttentionOp
    window: int | None = None
    prompts: Sequence[PrefillBatch] = ()

    def attend(self, layer: int, qkv: Tensor, turn: Turn) -> Tensor:
        q, k, v = self.rotary_write(qkv, turn, *self.cache.layer(layer), self.places)
        if self.window is None:
            return self.op(q, k, v, self.batch)
        found = []
        each = zip(*(torch.split(x, list(self.batch.lengths)) for x in (q, k, v)), strict=True)
        for (q, k, v), prompt in zip(each, self.prompts, strict=True):
            [length] = prompt.lengths
            found.append(self.op(q[:length], k[:length], v[:length], prompt))
            if q.shape[0] > length:
                found.append(windowed_causal(q, k, v, length, self.window))
        return torch.cat(found)


@dataclass(frozen=True)
class DecodeKeyValues:
    """The last token of each sequence."""

    cache: BlockCache
    places: Tensor
    batch: PagedBatch
    rotary_write: RotaryWriteOp
    op: PagedAttentionOp

    def attend(self, layer: int, qkv: Tensor, turn: Turn) -> Tensor:
        keys, values = self.cache.layer(layer)
        q, _, _ = self.rotary_write(qkv, turn, keys, values, self.places)
        return self.op(q, keys, values, self.batch)
