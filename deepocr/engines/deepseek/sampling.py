"""The next token: greedy, with a ban on repeated n-grams, and the probability it had."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NGramBan:
    """Which tokens would repeat an n-gram of `size`.

    With a `window`, only the generated tokens count, and only n-grams that start among the last
    `window` of them; `exempt` tokens are never banned. This is the official scripts' way.
    Without one, the whole sequence counts, prompt and image slots included, as transformers'
    `no_repeat_ngram_size` has it. Size 0 bans nothing. `long_window` is for sequences that hold
    several pages.
    """

    size: int
    window: int | None = None
    exempt: frozenset[int] = frozenset()
    long_window: int | None = None

    def window_of(self, *, long: bool) -> int | None:
        """Of a sequence."""
        return self.long_window if long and self.long_window else self.window

    def banned(self, prompt: Sequence[int], written: Sequence[int]) -> set[int]:
        """Ids that may not come next."""
        if self.size < 1:
            return set()
        tokens = written if self.window is not None else [*prompt, *written]
        last_start = len(tokens) - self.size
        first_start = 0 if self.window is None else max(0, len(tokens) - self.window)
        prefix = list(tokens[last_start + 1 :])
        found = {
            tokens[start + self.size - 1]
            for start in range(first_start, last_start + 1)
            if list(tokens[start : start + self.size - 1]) == prefix
        }
        return found - self.exempt


NO_BAN = NGramBan(0)


def pick(logits: Tensor, banned: Collection[int] = ()) -> tuple[int, float]:
    """logits (V,) float32 -> the best token that is not banned, the lowest id at a tie.

    The probability is the model's own, before the ban: among all tokens, the banned ones too.
    """
    if banned:
        allowed = logits.index_fill(
            0, torch.tensor(sorted(banned), device=logits.device), float("-inf")
        )
    else:
        allowed = logits
    token = allowed.argmax()
    log_probability = logits[token] - logits.logsumexp(dim=-1)
    return int(token), float(log_probability.exp())
