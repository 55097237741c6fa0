"""Which letters of two texts correspond to each other."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from deepocr.check.words import Stream

Letters = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mismatch:
    """Words of the witness and of the text that stand in the same place but differ, as ranges of
    pieces."""

    witness: range
    text: range


@dataclass(eq=False)
class Alignment:
    """`to_text[i]` is the text's letter that matches the witness's letter i, or -1; `to_witness` is
    the inverse."""

    witness: Stream
    text: Stream
    to_text: Letters
    to_witness: Letters
    mismatches: list[Mismatch] = field(default_factory=list)

    def pair(self, first: int, second: int, size: int) -> None:
        """Match `size` letters, from `first` of the witness and from `second` of the text."""
        self.to_text[first : first + size] = np.arange(second, second + size)
        self.to_witness[second : second + size] = np.arange(first, first + size)

    def release(self, mismatch: Mismatch) -> None:
        """Unmatch the words of both sides from whatever they are matched with."""
        for stream, pieces, there, back in (
            (self.witness, mismatch.witness, self.to_text, self.to_witness),
            (self.text, mismatch.text, self.to_witness, self.to_text),
        ):
            letters = slice(stream.starts[pieces.start], stream.starts[pieces.stop])
            matched = there[letters]
            back[matched[matched >= 0]] = -1
            there[letters] = -1
