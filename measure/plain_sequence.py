"""One page at a time, step by step: the path that faster ones are held against."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.sampling import NGramBan, pick
from deepocr.engines.deepseek.tokens import Prompt


@dataclass(frozen=True)
class Written:
    """A token and the probability that the model gave it."""

    token: int
    probability: float


class PlainSequence:
    """One sequence in its own cache. Call under `torch.inference_mode`."""

    def __init__(self, model: OcrModel, prompt: Prompt, max_new_tokens: int) -> None:
        self.model = model
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens
        self.cache = model.new_cache(len(prompt.ids) + max_new_tokens)

    def prefill(self, slots: Tensor) -> Tensor:
        """Slot features (slots, hidden) -> hidden states of the whole prompt, (T, hidden)."""
        return self._step(self.prompt.ids, slots)

    def write(self, hidden: Tensor, ban: NGramBan, end: int) -> Iterator[Written]:
        """Tokens one by one, from the hidden states of the prompt, the end token included."""
        written: list[int] = []
        while True:
            logits = self.model.logits(hidden[-1:])[0]
            token, probability = pick(logits, ban.banned(self.prompt.ids, written))
            written.append(token)
            yield Written(token, probability)
            if token == end or len(written) == self.max_new_tokens:
                return
            hidden = self._step([token])

    def _step(self, tokens: Sequence[int], slots: Tensor | None = None) -> Tensor:
        device = self.model.device
        ids = torch.tensor(list(tokens), device=device)
        start = self.cache.length
        positions = torch.arange(start, start + len(ids), device=device)
        embedded = self.model.embed(ids, slots, self.prompt.first_slot)
        hidden: Tensor = self.model.decoder(embedded, positions, self.cache)
        self.cache.advance(len(ids))
        return hidden
