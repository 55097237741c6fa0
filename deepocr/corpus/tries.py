"""What was being read when a process ended without a word.

A part is noted before it is read. Where its reader was lost, the next one reads the part in groups
and notes each before it reads it: the pages of a group that was lost are suspects, and are read
alone in their process. A page that was alone in hand at so many losses is failed. So machines may
come and go, and a page that ends its process every time does not stop the run.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from deepocr.corpus.plan import Part
from deepocr.storage import Folder

GROUP = 16
"""Pages in hand at once after a loss."""


class PartTries:
    """One part's tries. Blocking; raises StorageError.

    Pages go by their place in the part, from 0. `losses` has the suspects: how often a process
    ended while it read this page alone.
    """

    def __init__(self, folder: Folder, part: Part) -> None:
        self._folder = folder
        self._name = f"_run/tries/{part.shard:06d}-{part.number:05d}.json"
        content = folder.read(self._name)
        kept = json.loads(content) if content else {"losses": {}, "in_hand": []}
        self.lost = content is not None
        """Whether an earlier try ended without a word."""
        self.losses = Counter({int(place): n for place, n in kept["losses"].items()})
        alone = len(kept["in_hand"]) == 1
        for place in kept["in_hand"]:
            self.losses[place] += alone
        self._keep([])

    def groups(self, places: Sequence[int]) -> Iterator[Sequence[int]]:
        """What to read at once: all of it, or after a loss a few, suspects alone."""
        if not self.lost:
            yield places
            return
        suspects = [place for place in places if place in self.losses]
        others = [place for place in places if place not in self.losses]
        for start in range(0, len(others), GROUP):
            yield others[start : start + GROUP]
        yield from ([place] for place in suspects)

    @contextmanager
    def in_hand(self, places: Sequence[int]) -> Iterator[None]:
        """While they are read after a loss: what ends the process then is counted against them."""
        if self.lost:
            self._keep(places)
        yield
        if self.lost:
            self._keep([])

    def forget(self) -> None:
        """The part is done, or given back by a reader that ends in order."""
        self._folder.delete(self._name)

    def give_back(self) -> None:
        """A reader ends in order: nothing new is held against the part."""
        if self.lost:
            self._keep([])
        else:
            self.forget()

    def _keep(self, in_hand: Sequence[int]) -> None:
        kept = {"losses": self.losses, "in_hand": list(in_hand)}
        self._folder.write(self._name, json.dumps(kept).encode())
