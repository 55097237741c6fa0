"""Pages in a script that the recognizer does not know: what it makes of them is salad."""

from collections.abc import Mapping

import numpy as np

from deepocr.engines.ppocr.recognition.models import Points, Recognized

MIN_LENGTH = 4.0
"""Times its height: a shorter line says too little."""

POOR = 0.77
"""Scores of letters of another script, taken for those that they are most alike."""

MIN_CHARACTERS = 0.5
"""For each time that a line is as long as it is high; Chinese has 1.1, Latin more than 2."""

MIN_LINES, MIN_SHARE = 3, 0.5
"""Lines that are not read, and their share in the length of all, for the page to be told so."""

MIN_POOR = 0.8
"""The same share where poor scores count too: on a bad scan some lines are read well."""


def find_unread(points: Points, texts: Mapping[int, Recognized]) -> set[int]:
    """Indices of the lines that were not read, where most of a page's were not."""
    sides = np.linalg.norm(points[:, [1, 3]] - points[:, [0]], axis=2)
    length, height = sides.max(axis=1), sides.min(axis=1).clip(1)
    long = [int(index) for index in np.flatnonzero(length > MIN_LENGTH * height)]

    def is_empty(index: int) -> bool:
        characters = len("".join(texts[index].text.split()))
        return bool(characters < MIN_CHARACTERS * length[index] / height[index])

    def share(some: set[int]) -> float:
        return float(length[list(some)].sum() / max(1.0, length[long].sum()))

    empty = {index for index in long if is_empty(index)}
    poor = empty | {index for index in long if texts[index].score < POOR}
    for unread, least in ((poor, MIN_POOR), (empty, MIN_SHARE)):
        if len(unread) >= MIN_LINES and share(unread) >= least:
            return unread
    return set()


def unread_note(num_unread: int, num_lines: int) -> str:
    """For a page's notes."""
    return (
        f"{num_unread} of {num_lines} lines could not be read and are left out: they may be in a "
        "script that this reader does not know (it knows Latin, Chinese and Japanese); read the "
        "page with another engine"
    )
