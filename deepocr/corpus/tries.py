"""Records what was being read when a process died.

A part is recorded before it is read. If its reader is lost, the next one reads the part in groups
and records each group before reading it. The pages of a lost group are suspects, and each is read
alone in its process. A page that was alone at too many losses fails. So machines may come and go,
and a page that kills its process every time does not stop the run.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from deepocr.corpus.plan import Part
from deepocr.storage import Folder

GROUP = 16
"""Number of pages that are read at once after a loss."""


class PartTries:
    """One part's tries. Blocking; raises StorageError.

    Pages are named by their place in the part, from 0. `losses` has the suspects, with the number
    of times that a process died while it read only this page.
    """

    def __init__(self, folder: Folder, part: Part) -> None:
        self._folder = folder
        self._name = f"_run/tries/{part.shard:06d}-{part.number:05d}.json"
        content = folder.read(self._name)
        kept = json.loads(content) if content else {"losses": {}, "in_hand": []}
        self.lost = content is not None
        """Whether an earlier try died."""
        self.losses = Counter({int(place): n for place, n in kept["losses"].items()})
        alone = len(kept["in_hand"]) == 1
        for place in kept["in_hand"]:
            self.losses[place] += alone
        self._keep([])

    def groups(self, places: Sequence[int]) -> Iterator[Sequence[int]]:
        """The groups to read at once: all pages, or after a loss a few at a time and suspects
        alone."""
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
        """Records pages as being read after a loss: if the process dies meanwhile, they are
        suspects."""
        if self.lost:
            self._keep(places)
        yield
        if self.lost:
            self._keep([])

    def forget(self) -> None:
        """Remove the record of a part that is done or given back."""
        self._folder.delete(self._name)

    def give_back(self) -> None:
        """Give the part back when its reader stops without dying: nothing new counts against it."""
        if self.lost:
            self._keep([])
        else:
            self.forget()

    def _keep(self, in_hand: Sequence[int]) -> None:
        kept = {"losses": self.losses, "in_hand": list(in_hand)}
        self._folder.write(self._name, json.dumps(kept).encode())
