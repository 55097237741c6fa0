"""Who runs next. No torch here: the scheduler counts tokens and blocks and never sees a tensor.

The life of a sequence: `add` puts it in the waiting line; `schedule` gives it a slot and blocks for
all its tokens and asks for a prefill, which writes its first token; from then on it takes part in
every decode step until `finish`. When blocks run out, the youngest running sequence gives back
what it holds and waits again at its place in order of arrival; its tokens are kept and computed
once more by its next prefill. The oldest sequence is never preempted, so it always comes to an
end, and with it everyone behind it.
"""

import bisect
from dataclasses import dataclass
from typing import Literal

from deepocr.engines.deepseek.kv_blocks import BlockPool
from deepocr.engines.deepseek.sequence import Sequence, State
from deepocr.types import FinishReason


@dataclass(frozen=True)
class Step:
    """One pass of the decoder: whole sequences (prefill) or the last token of each (decode).

    Every sequence of a step writes one token; it is pending until `Scheduler.append`.
    """

    kind: Literal["prefill", "decode"]
    sequences: tuple[Sequence, ...]


class Scheduler:
    """Plans steps over a pool of blocks and `max_sequences` slots.

    `max_sequences` and `max_prefill_tokens` may be lowered later, when memory runs out. With a
    `window`, blocks that nothing looks at any more are given back as a sequence is written.
    """

    def __init__(
        self,
        pool: BlockPool,
        max_sequences: int,
        max_prefill_tokens: int,
        window: int | None = None,
    ) -> None:
        self.pool = pool
        self.window = window
        self.max_sequences = max_sequences
        self.max_prefill_tokens = max_prefill_tokens
        self.waiting: list[Sequence] = []  # both in order of arrival
        self.running: list[Sequence] = []
        self._free_slots = list(range(max_sequences - 1, -1, -1))
        self._prefilled_last = False

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    def add(self, sequence: Sequence) -> None:
        """Put a new sequence in line. It must fit the pool when it runs alone."""
        assert self._most(sequence) <= self.pool.total, "no sequence is larger than the pool"
        bisect.insort(self.waiting, sequence, key=lambda other: other.arrival)

    def unready(self) -> list[Sequence]:
        """Sequences that could be admitted next if only their features were there."""
        window = max(0, self.max_sequences - len(self.running))
        return [sequence for sequence in self.waiting[:window] if not sequence.ready]

    def schedule(self) -> Step | None:
        """The next step, or None when nothing can run.

        A prefill never follows a prefill while others could decode: new pages do not stall those
        that are being written.
        """
        if not (self._prefilled_last and self.running):
            admitted = self._admit()
            if admitted:
                return self._launch("prefill", admitted)
        decoding = self._with_room()
        if decoding:
            return self._launch("decode", decoding)
        self._prefilled_last = False
        admitted = self._admit()
        return self._launch("prefill", admitted) if admitted else None

    def schedule_ahead(self) -> Step | None:
        """The next step if it is a decode that needs no value of a pending token, else None.

        Called while a step is still running on the device. Admitting and preempting wait until
        all values are known.
        """
        if self._can_admit(0, 0) and not self._prefilled_last:
            return None
        decoding = [sequence for sequence in self.running if not sequence.full]
        for sequence in decoding:
            self._let_go(sequence)
        if not decoding or sum(map(self._missing, decoding)) > self.pool.free:
            return None
        for sequence in decoding:
            self._grow(sequence)
        return self._launch("decode", decoding)

    def append(self, sequence: Sequence, token: int) -> bool:
        """The value of a pending token. False if the sequence has ended meanwhile (dropped)."""
        if sequence.state is not State.RUNNING:
            return False
        sequence.append(token)
        return True

    def finish(self, sequence: Sequence, reason: FinishReason | None) -> None:
        """End a sequence in any state; None means canceled or failed. Its blocks are free now."""
        if sequence.state is State.FINISHED:
            return
        if sequence.state is State.WAITING:
            self.waiting.remove(sequence)
        else:
            self._release(sequence)
        sequence.state = State.FINISHED
        sequence.finish_reason = reason

    def preempt(self, sequence: Sequence) -> None:
        """Back to its place in the waiting line, without slot and blocks. Pending tokens are
        forgotten: they will be written again."""
        self._release(sequence)
        sequence.num_cached = 0
        sequence.pending = 0
        sequence.state = State.WAITING
        sequence.preemptions += 1
        bisect.insort(self.waiting, sequence, key=lambda other: other.arrival)

    def withdraw(self, step: Step) -> None:
        """Take back a step that failed before it wrote anything (the device ran out of memory)."""
        for sequence in step.sequences:
            if sequence.state is not State.RUNNING:
                continue
            if step.kind == "prefill":
                self.preempt(sequence)
            else:
                sequence.pending -= 1
                sequence.num_cached -= 1

    def _launch(self, kind: Literal["prefill", "decode"], sequences: list[Sequence]) -> Step:
        for sequence in sequences:
            sequence.num_cached = sequence.length
            sequence.pending += 1
        self._prefilled_last = kind == "prefill"
        return Step(kind, tuple(sequences))

    def _can_admit(self, num_admitted: int, num_tokens: int) -> bool:
        """Whether the head of the line may join a prefill of `num_tokens` tokens."""
        if not self.waiting or not self.waiting[0].ready:
            return False
        if len(self.running) >= self.max_sequences:
            return False
        head = self.waiting[0]
        if num_admitted and num_tokens + head.length > self.max_prefill_tokens:
            return False
        # one block kept for each running sequence, or it would be preempted again at once
        need = self._seen(head, head.length + 1) + len(self.running)
        return need <= self.pool.free or (
            not self.running and self._seen(head, head.length) <= self.pool.free
        )

    def _seen(self, sequence: Sequence, length: int) -> int:
        """How many blocks a sequence of this length needs."""
        return self.pool.blocks_for(length) - len(self._unseen(sequence, length))

    def _most(self, sequence: Sequence) -> int:
        """The most blocks that a sequence ever needs."""
        whole = self.pool.blocks_for(len(sequence.prompt) + sequence.max_new_tokens)
        if self.window is None:
            return whole
        seen = self.pool.blocks_for(len(sequence.prompt)) + self.pool.blocks_for(self.window) + 1
        return min(whole, seen)

    def _admit(self) -> list[Sequence]:
        admitted: list[Sequence] = []
        num_tokens = 0
        while self._can_admit(len(admitted), num_tokens):
            sequence = self.waiting.pop(0)
            sequence.state = State.RUNNING
            sequence.slot = self._free_slots.pop()
            unseen = self._unseen(sequence, sequence.length)
            sequence.blocks = self.pool.take(unseen.start) + [0] * len(unseen)
            self._grow(sequence)
            bisect.insort(self.running, sequence, key=lambda other: other.arrival)
            admitted.append(sequence)
            num_tokens += sequence.length
        return admitted

    def _with_room(self) -> list[Sequence]:
        """Running sequences with a place for their next token; the youngest give way for it."""
        decoding: list[Sequence] = []
        for sequence in list(self.running):
            if sequence.full:
                continue
            self._let_go(sequence)
            while sequence.state is State.RUNNING and self._missing(sequence) > self.pool.free:
                self.preempt(self.running[-1])
            if sequence.state is State.RUNNING:
                self._grow(sequence)
                decoding.append(sequence)
        return decoding

    def _missing(self, sequence: Sequence) -> int:
        """Blocks it lacks to hold all its tokens."""
        return self.pool.blocks_for(sequence.length) - len(sequence.blocks)

    def _grow(self, sequence: Sequence) -> None:
        sequence.blocks += self.pool.take(self._missing(sequence))

    def _unseen(self, sequence: Sequence, length: int) -> range:
        return self.pool.unseen(len(sequence.prompt), length, self.window)

    def _let_go(self, sequence: Sequence) -> None:
        """Give back the blocks that nothing looks at any more; 0 stands in their place. A step in
        flight may fail and be launched again, so what it sees stays."""
        for index in reversed(self._unseen(sequence, sequence.length - sequence.pending)):
            if not sequence.blocks[index]:
                break
            self.pool.give_back([sequence.blocks[index]])
            sequence.blocks[index] = 0

    def _release(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.pool.give_back(sequence.blocks)
        self._free_slots.append(sequence.slot)
        sequence.blocks = []
        sequence.slot = -1
