"""A step of the scheduler on the device: prompts or last tokens in, one token a sequence out.

Nothing here waits for the device: `prefill` and `decode` return at once with a `Launched`, whose
`wait` gives the values. What one token needs of the last one (its id, the tokens that the ban
looks at) stays in `history` on the device, so the next step can be launched before the values of
this one are known.
"""

from collections.abc import Sequence as Row
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepocr.engines.deepseek.kv_cache import BlockCache, DecodeKeyValues, PrefillKeyValues
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops.ngram import ban_repeats
from deepocr.engines.deepseek.ops.paged_attention import (
    PagedAttentionOp,
    PagedBatch,
    PrefillAttentionOp,
    seen_spans,
)
from deepocr.engines.deepseek.sampling import NGramBan
from deepocr.engines.deepseek.sequence import Sequence

HEADER = 3
"""Columns of a decode step's inputs before the block table: slot, position, tokens written."""


@dataclass(frozen=True)
class Launched:
    """Tokens (B,) and their probabilities (B,) of a step that may still be running."""

    tokens: Tensor
    probabilities: Tensor
    done: torch.cuda.Event | None = None

    def wait(self) -> list[tuple[int, float]]:
        if self.done is not None:
            self.done.synchronize()
        return list(zip(self.tokens.tolist(), self.probabilities.tolist(), strict=True))


class Runner:
    """Runs steps of up to `max_sequences` sequences of up to `context` tokens."""

    def __init__(
        self,
        model: OcrModel,
        cache: BlockCache,
        *,
        max_sequences: int,
        context: int,
        ban: NGramBan,
        paged_attention: PagedAttentionOp,
        prefill_attention: PrefillAttentionOp,
    ) -> None:
        if ban.size > 0 and (ban.window is None or ban.window < ban.size):
            raise ValueError(f"{ban}: a batch needs a window of at least the n-gram's size")
        self.model = model
        self.cache = cache
        self.device = model.device
        self.max_sequences = max_sequences
        self.table_width = -(-context // cache.block_tokens)
        self.window = model.config.decoder.sliding_window
        self.ban = ban
        self.exempt = torch.tensor(sorted(ban.exempt), dtype=torch.int64, device=self.device)
        self.paged_attention = paged_attention
        self.prefill_attention = prefill_attention
        # the ban's window of the sequence in each slot, where sequences differ in it
        self.windows: Tensor | None = None
        if ban.long_window is not None:
            self.windows = torch.zeros(max_sequences + 1, dtype=torch.int64, device=self.device)
        # tokens written by the sequence in each slot; the last row is for padding
        self.history = torch.zeros(
            max_sequences + 1, context + 1, dtype=torch.int64, device=self.device
        )

    def probe(self) -> None:
        """Raises what the device throws when it can compute nothing any more: a CUDA context does
        not get over the fault of a kernel."""
        torch.zeros(1, device=self.device).add_(1).item()

    def clear(self, blocks: Row[int]) -> None:
        """Zeros into cache blocks."""
        self.cache.blocks[:, :, self._to_device(list(blocks))] = 0

    def prefill(self, sequences: Row[Sequence], features: Row[Tensor]) -> Launched:
        """Whole sequences with the features of their image slots, (slots, hidden) each.

        A sequence that comes back after preemption brings what it has written so far.
        """
        lengths = [len(sequence.tokens) for sequence in sequences]
        ids = self._to_device([token for s in sequences for token in s.tokens])
        positions = self._to_device([at for length in lengths for at in range(length)])
        places = self._to_device([place for s in sequences for place in self._places(s)])
        hidden = self.model.embed(ids)
        start = 0
        for sequence, slots, length in zip(sequences, features, lengths, strict=True):
            first = start + sequence.first_slot
            hidden[first : first + slots.shape[0]] = slots
            start += length
            self._restore_history(sequence)
            if self.windows is not None:
                self.windows[sequence.slot] = self.ban.window_of(long=sequence.long_ban) or 0
        prompts = [len(sequence.prompt) for sequence in sequences]
        kv = PrefillKeyValues(
            self.cache, places, lengths, prompts, self.window, self.prefill_attention
        )
        hidden = self.model.decoder(hidden, positions, kv)
        last = self._to_device(lengths).cumsum(0) - 1
        rows = self._to_device([[s.slot, len(s.output)] for s in sequences])
        return self._launched(*self._pick(hidden[last], rows[:, 0], rows[:, 1]))

    def decode(self, sequences: Row[Sequence]) -> Launched:
        """The next token of each sequence."""
        width = max(len(sequence.blocks) for sequence in sequences)
        inputs = self._to_device([self.decode_row(sequence, width) for sequence in sequences])
        spans = (seen_spans(len(s.prompt), s.num_cached, self.window) for s in sequences)
        blocks = tuple(tuple(sequence.blocks) for sequence in sequences)
        batch = self.paged_batch(inputs, host_blocks=blocks, host_spans=tuple(spans))
        return self._launched(*self.decode_step(inputs, batch))

    def paged_batch(self, inputs: Tensor, **on_host: Any) -> PagedBatch:
        """A step's inputs as the attention takes them."""
        positions, written = inputs[:, 1].int(), inputs[:, 2].int()
        return PagedBatch(
            inputs[:, HEADER:].int(), positions + 1, positions + 1 - written, self.window, **on_host
        )

    def decode_row(self, sequence: Sequence, width: int) -> list[int]:
        """Slot, position of its last token, tokens written before this step, blocks."""
        blocks = sequence.blocks
        padding = [0] * (width - len(blocks))
        return [
            sequence.slot, sequence.num_cached - 1, sequence.num_output - 1, *blocks, *padding
        ]  # fmt: skip

    def decode_step(self, inputs: Tensor, batch: PagedBatch) -> tuple[Tensor, Tensor]:
        """inputs (B, HEADER + blocks) int64 -> tokens (B,), probabilities (B,).

        Device work alone, on tensors of fixed shape: this is what a CUDA graph holds.
        """
        slots, positions, written = inputs[:, :HEADER].unbind(1)
        size = self.cache.block_tokens
        block = inputs[:, HEADER:].gather(1, (positions // size)[:, None]).squeeze(1)
        kv = DecodeKeyValues(
            self.cache, block * size + positions % size, batch, self.paged_attention
        )
        hidden = self.model.embed(self.history[slots, written - 1])
        hidden = self.model.decoder(hidden, positions, kv)
        return self._pick(hidden, slots, written)

    def _pick(self, hidden: Tensor, slots: Tensor, written: Tensor) -> tuple[Tensor, Tensor]:
        """Last hidden states (B, hidden) -> the best token that is not banned, and the
        probability that the model gave it before the ban; the token goes into the history."""
        logits = self.model.logits(hidden)
        allowed = logits
        if self.ban.size > 0 and self.ban.window is not None:
            history = self.history[slots]
            longest = max(self.ban.window, self.ban.long_window or 0)
            windows = None if self.windows is None else self.windows[slots]
            allowed = ban_repeats(
                logits, history, written, self.ban.size, longest, self.exempt, windows
            )
        tokens = allowed.argmax(dim=-1)
        chosen = logits.gather(1, tokens[:, None]).squeeze(1)
        probabilities = (chosen - logits.logsumexp(dim=-1)).exp()
        self.history.index_put_((slots, written), tokens)
        return tokens, probabilities

    def _restore_history(self, sequence: Sequence) -> None:
        if sequence.output:
            self.history[sequence.slot, : len(sequence.output)] = self._to_device(sequence.output)

    def _places(self, sequence: Sequence) -> list[int]:
        """Where the keys of each of its tokens go."""
        size = self.cache.block_tokens
        return [
            sequence.blocks[at // size] * size + at % size for at in range(len(sequence.tokens))
        ]

    def _to_device(self, values: list[int] | list[list[int]]) -> Tensor:
        tensor = torch.tensor(values, dtype=torch.int64)
        if self.device.type == "cuda":
            # pinned, so that the copy does not wait for the device
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _launched(self, tokens: Tensor, probabilities: Tensor) -> Launched:
        if self.device.type != "cuda":
            return Launched(tokens, probabilities)
        host = (
            torch.empty_like(tokens, device="cpu", pin_memory=True),
            torch.empty_like(probabilities, device="cpu", pin_memory=True),
        )
        host[0].copy_(tokens, non_blocking=True)
        host[1].copy_(probabilities, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        return Launched(*host, done)
