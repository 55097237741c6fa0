"""Notice that a page goes on in phrases that it has said before, whatever their order: a caption
that names one figure after the other, cells that say the same sentence in other words."""

from collections import deque
from collections.abc import Hashable

PHRASE_ITEMS = 6
"""Words and marks that follow each other, without a number or a tag: rows of a table, lists of
numbers and boxes repeat themselves for good reasons."""

MIN_DIFFERENT = 5
"""Of these; fewer are a pattern: dots, rulers, answers to tick."""

Shares = tuple[tuple[int, float], ...]
"""Of so many last phrases, the share that is too much."""

SAID_IN_TABLE: Shares = ((2048, 0.65),)
SAID_BEFORE: Shares = ((1024, 0.9), *SAID_IN_TABLE)
"""Windows of phrases, and the share of them said before that is a loop. None of 4,100 pages of
licenses, manuals and code reaches 0.9 of 1,024."""


class PhraseWatch:
    """Takes items one by one, None for what ends a phrase."""

    def __init__(self) -> None:
        self._last: deque[Hashable] = deque(maxlen=PHRASE_ITEMS)
        self._phrase: tuple[Hashable, ...] = ()
        self._said: set[tuple[Hashable, ...]] = set()
        # how many of the first n phrases had been said before
        self._counts = [0]

    def push(self, item: Hashable) -> None:
        if item is None:
            self._last.clear()
            return
        self._last.append(item)
        if len(self._last) < PHRASE_ITEMS or len(set(self._last)) < MIN_DIFFERENT:
            return
        self._phrase = tuple(self._last)
        self._counts.append(self._counts[-1] + (self._phrase in self._said))
        self._said.add(self._phrase)

    def said_before(self, most: Shares) -> tuple[Hashable, ...]:
        """The last phrase, where too many of those before it had been said before."""
        again = any(
            len(self._counts) > span and self._counts[-1] - self._counts[-1 - span] >= share * span
            for span, share in most
        )
        return self._phrase if again else ()
