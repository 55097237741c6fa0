"""The next token of every sequence on the device: ban, best, probability. The plain version."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from deepocr.engines.deepseek.ops.ngram import ban_repeats


@dataclass(frozen=True)
class Written:
    """What sequences have written: history (slots, capacity) int64, left-aligned; of the sequences
    of a step their slots, how many tokens each has there, and how many of these its ban looks at,
    slots, counts and windows, (B,) int64 each."""

    history: Tensor
    slots: Tensor
    counts: Tensor
    windows: Tensor


@dataclass(frozen=True)
class BanRule:
    """As `sampling.NGramBan`; `window` is the longest of any sequence, exempt (any number,) int64
    on the device."""

    size: int
    window: int
    exempt: Tensor


class PickOp(Protocol):
    """Greedy, the lowest id at a tie."""

    def __call__(
        self, logits: Tensor, written: Written, ban: BanRule | None
    ) -> tuple[Tensor, Tensor]:
        """logits (B, V) -> the best tokens (B,) int64 that are not banned, and the probabilities
        (B,) float32 that the model gave them before the ban; NaN where a logit is. The tokens go
        into the history."""
        ...


def plain_pick(logits: Tensor, written: Written, ban: BanRule | None) -> tuple[Tensor, Tensor]:
    logits = logits.float()
    allowed = logits
    if ban is not None:
        history = written.history[written.slots]
        allowed = ban_repeats(
            logits, history, written.counts, ban.size, ban.window, ban.exempt, written.windows
        )
    tokens = allowed.argmax(dim=-1)
    chosen = logits.gather(1, tokens[:, None]).squeeze(1)
    probabilities = (chosen - logits.logsumexp(dim=-1)).exp()
    written.history.index_put_((written.slots, written.counts), tokens)
    return tokens, probabilities
