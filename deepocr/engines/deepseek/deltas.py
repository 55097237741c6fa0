"""Tokens and their probabilities to pieces of text."""

from deepocr.engines.deepseek.tokens import TextStream, TokenTable
from deepocr.types import TextDelta


class DeltaWriter:
    """One page's text as it is written.

    A token whose bytes end inside a character waits, and its probability with it. The end token
    adds no text, so its probability counts nowhere.
    """

    def __init__(self, tokens: TokenTable) -> None:
        self._eos_id = tokens.eos_id
        self._stream = TextStream(tokens)
        self._waiting: list[float] = []

    def push(self, token: int, probability: float) -> TextDelta | None:
        """The text that this token completes, or None while there is none."""
        if token == self._eos_id:
            return None
        self._waiting.append(probability)
        text = self._stream.push(token)
        return self._delta(text) if text else None

    def finish(self) -> TextDelta | None:
        """What waits when the last token has been pushed."""
        text = self._stream.finish()
        return self._delta(text) if text or self._waiting else None

    def _delta(self, text: str) -> TextDelta:
        probabilities, self._waiting = tuple(self._waiting), []
        return TextDelta(text, probabilities)
