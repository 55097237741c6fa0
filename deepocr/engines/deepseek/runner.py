"""A step of the scheduler on the device: prompts or last tokens in, one token a sequence out.

Nothing here waits for the device: `prefill` and `decode` return at once with a `Launched`, whose
`wait` gives the values. What one token needs of the last one (its id, the tokens that the ban
looks at) stays in `history` on the device, so the next step can be launched before the values of
this one are known.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Row
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepocr.engines.deepseek.kv_cache import BlockCache, DecodeKeyValues, PrefillKeyValues
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops.paged_attention import (
    PagedAttentionOp,
    PagedBatch,
    PrefillAttentionOp,
    PrefillBatch,
    Span,
    ends_of,
    seen_spans,
)
from deepocr.engines.deepseek.ops.pick import BanRule, PickOp, Written, plain_pick
from deepocr.engines.deepseek.ops.rotary import RotaryWriteOp, plain_rotary_write
from deepocr.engines.deepseek.sampling import NGramBan
from deepocr.engines.deepseek.sequence import Sequence
from deepocr.engines.deepseek.staging import Part, Returned, Staging

WARM_UP_SEQUENCES = (1, 4)
WARM_UP_TOKENS = (16, 150, 300, 1000)
"""Sequences of a step and tokens of a prompt for which experts run by other kernels or tiles."""


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


@dataclass(frozen=True)
class DecodeInputs:
    """A decode step of B sequences on the device: slots, positions of their last tokens, how many
    tokens each has written, the ban's windows, and where keys and values of the last token go,
    (B,) int64 each; the rest as in PagedBatch."""

    slots: Tensor
    positions: Tensor
    written: Tensor
    windows: Tensor
    places: Tensor
    lengths: Tensor
    prompts: Tensor
    block_table: Tensor


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
        rotary_write: RotaryWriteOp = plain_rotary_write,
        pick: PickOp = plain_pick,
    ) -> None:
        if ban.size > 0 and (ban.window is None or ban.window < ban.size):
            raise ValueError(f"{ban}: a batch needs a window of at least the n-gram's size")
        self.model = model
        self.cache = cache
        self.device = model.device
        self.max_sequences = max_sequences
        self.context = context
        self.table_width = -(-context // cache.block_tokens)
        self.window = model.config.decoder.sliding_window
        self.ban = ban
        self.ban_rule: BanRule | None = None
        if ban.size > 0 and ban.window is not None:
            exempt = torch.tensor(sorted(ban.exempt), dtype=torch.int64, device=self.device)
            self.ban_rule = BanRule(ban.size, max(ban.window, ban.long_window or 0), exempt)
        self.paged_attention = paged_attention
        self.prefill_attention = prefill_attention
        self.rotary_write = rotary_write
        self.pick = pick
        # before all else on the device: a picture that is being encoded lets a step through
        self.stream: torch.cuda.Stream | None = None
        if self.device.type == "cuda":
            self.stream = torch.cuda.Stream(self.device, priority=-1)  # type: ignore[no-untyped-call]
        self.staging = Staging(self.device)
        self.returned = Returned(self.device, max_sequences)
        # tokens written by the sequence in each slot; the last row is for padding
        self.history = torch.zeros(
            max_sequences + 1, context + 1, dtype=torch.int64, device=self.device
        )
        if self.stream is not None:
            # the cache and all this were filled on another stream
            torch.cuda.synchronize(self.device)

    def probe(self) -> None:
        """Raises what the device throws when it can compute nothing any more: a CUDA context does
        not get over the fault of a kernel."""
        torch.zeros(1, device=self.device).add_(1).item()

    @contextmanager
    def on_stream(self) -> Iterator[None]:
        """Graphs and Triton run on the current device and stream, which each thread has its own
        of."""
        if self.stream is None:
            yield
            return
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            yield

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Steps with each kind of kernel, so that none is compiled for the first page. They use
        block 0 and the slot of padding."""
        for size in WARM_UP_SEQUENCES:
            parts = self.decode_parts([], self.table_width, padding=size)
            self.decode_step(DecodeInputs(*self.staging.upload(parts)))
        for tokens in (min(tokens, self.context) for tokens in WARM_UP_TOKENS):
            blocks = [0] * -(-tokens // self.cache.block_tokens)
            sequence = Sequence(0, [0] * tokens, 1, blocks=blocks, slot=self.max_sequences)
            self.prefill([sequence], [self.model.view_seperator.new_empty(0, 1)])

    def clear(self, blocks: Row[int]) -> None:
        """Zeros into cache blocks."""
        [at] = self.staging.upload([np.array(blocks, np.int64)])
        self.cache.blocks[:, :, at] = 0

    def prefill(self, sequences: Row[Sequence], features: Row[Tensor]) -> Launched:
        """Whole sequences with the features of their image slots, (slots, hidden) each.

        A sequence that comes back after preemption brings what it has written so far.
        """
        lengths = [len(sequence.tokens) for sequence in sequences]
        prompts = [len(sequence.prompt) for sequence in sequences]
        starts = ends_of(lengths)
        restored = [sequence for sequence in sequences if sequence.output]
        windowed = self.window if restored else None
        ids, positions, places, last, slots, written, windows, ends, *rest = self.staging.upload(
            [
                np.array([token for s in sequences for token in s.tokens], np.int64),
                np.concatenate([np.arange(length) for length in lengths]),
                np.concatenate([self._places(s, len(s.tokens)) for s in sequences]),
                np.array(starts[1:], np.int64) - 1,
                np.array([s.slot for s in sequences], np.int64),
                np.array([len(s.output) for s in sequences], np.int64),
                np.array([self._ban_window(s) for s in sequences], np.int64),
                np.array(starts, np.int32),
                *(np.array(s.output, np.int64) for s in restored),
                *(np.array([0, prompt], np.int32) for prompt in prompts if windowed),
            ]
        )
        for sequence, output in zip(restored, rest, strict=False):
            self.history[sequence.slot, : len(sequence.output)] = output
        hidden = self.model.embed(ids)
        for sequence, filled, start in zip(sequences, features, starts, strict=False):
            if filled.is_cuda:
                # made on another stream, whose memory it is
                filled.record_stream(torch.cuda.current_stream())
            first = start + sequence.first_slot
            hidden[first : first + filled.shape[0]] = filled
        each = zip(prompts, rest[len(restored) :], strict=bool(windowed))
        kv = PrefillKeyValues(
            self.cache,
            places,
            PrefillBatch(tuple(lengths), ends),
            self.rotary_write,
            self.prefill_attention,
            windowed,
            [PrefillBatch((prompt,), its_ends) for prompt, its_ends in each],
        )
        hidden = self.model.decoder(hidden, positions, kv)
        rows = Written(self.history, slots, written, windows)
        return self._launched(*self.pick(self.model.lm_head(hidden[last]), rows, self.ban_rule))

    def decode(self, sequences: Row[Sequence]) -> Launched:
        """The next token of each sequence."""
        width = max(len(sequence.blocks) for sequence in sequences)
        inputs = DecodeInputs(*self.staging.upload(self.decode_parts(sequences, width)))
        spans = (seen_spans(len(s.prompt), s.num_cached, self.window) for s in sequences)
        blocks = tuple(tuple(sequence.blocks) for sequence in sequences)
        return self._launched(*self.decode_step(inputs, blocks, tuple(spans)))

    def decode_parts(self, sequences: Row[Sequence], width: int, padding: int = 0) -> list[Part]:
        """What becomes DecodeInputs, with tables of `width` blocks. Rows of padding have slot
        `max_sequences` and block 0, which no sequence ever holds."""
        table = np.zeros((len(sequences) + padding, width), np.int32)
        rows = [(self.max_sequences, 0, 1, 0, 0)] * len(table)
        for index, sequence in enumerate(sequences):
            table[index, : len(sequence.blocks)] = sequence.blocks
            position = sequence.num_cached - 1
            [place] = self._places(sequence, sequence.num_cached, position)
            window = self._ban_window(sequence)
            rows[index] = (sequence.slot, position, sequence.num_output - 1, window, place)
        slots, positions, written, windows, places = np.array(rows, np.int64).T
        lengths = (positions + 1).astype(np.int32)
        prompts = (positions + 1 - written).astype(np.int32)
        return [slots, positions, written, windows, places, lengths, prompts, table]

    def decode_step(
        self,
        inputs: DecodeInputs,
        host_blocks: tuple[tuple[int, ...], ...] = (),
        host_spans: tuple[tuple[Span, ...], ...] = (),
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B,) and probabilities (B,).

        Device work alone, on tensors of fixed shape: this is what a CUDA graph holds.
        """
        batch = PagedBatch(
            inputs.block_table, inputs.lengths, inputs.prompts, self.window, host_blocks, host_spans
        )
        kv = DecodeKeyValues(
            self.cache, inputs.places, batch, self.rotary_write, self.paged_attention
        )
        hidden = self.model.embed(self.history[inputs.slots, inputs.written - 1])
        hidden = self.model.decoder(hidden, inputs.positions, kv)
        rows = Written(self.history, inputs.slots, inputs.written, inputs.windows)
        return self.pick(self.model.lm_head(hidden), rows, self.ban_rule)

    def _ban_window(self, sequence: Sequence) -> int:
        return self.ban.window_of(long=sequence.long_ban) or 0

    def _places(self, sequence: Sequence, end: int, start: int = 0) -> Part:
        """Where the keys of its tokens from `start` to `end` go."""
        size = self.cache.block_tokens
        at = np.arange(start, end)
        places: Part = np.array(sequence.blocks, np.int64)[at // size] * size + at % size
        return places

    def _launched(self, tokens: Tensor, probabilities: Tensor) -> Launched:
        if self.device.type != "cuda":
            return Launched(tokens, probabilities)
        host = self.returned.copy(tokens, probabilities)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        return Launched(*host, done)
