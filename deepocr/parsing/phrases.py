"""Detects that a page continues in phrases that it has used before, in any order: a caption that
names one figure after another, cells that say the same in other words."""

from collections import deque
from collections.abc import Hashable

PHRASE_ITEMS = 6
"""Number of consecutive words and marks in a phrase. Numbers and tags end phrases, as rows of
tables, lists of numbers and boxes repeat for good reasons."""

MIN_DIFFERENT = 5
"""Least number of different items in a phrase; fewer are a pattern: dots, rulers, answers to tick.
"""

Shares = tuple[tuple[int, float], ...]
"""Pairs of a number of last phrases and the share of them, written before, that is too much."""

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
        # how many of the first n phrases had occurred before
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
        """The last phrase if too many of the recent phrases had occurred before, else empty."""
        again = any(
            len(self._counts) > span and self._counts[-1] - self._counts[-1 - span] >= share * span
            for span, share in most
        )
        return self._phrase if again else ()
