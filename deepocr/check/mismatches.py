"""Words that stand in the same place but differ, noted while two texts are aligned."""

import numpy as np
from rapidfuzz.distance import Levenshtein

from deepocr.check.alignment import Alignment, Letters, Mismatch
from deepocr.check.words import Stream

MAX_WORDS = 6
"""Most words of a mismatch on either side: the parts of longer ones come from different places."""


def words_at(stream: Stream, gap: tuple[int, int]) -> range:
    if gap[0] >= gap[1]:
        return range(0)
    return range(int(stream.piece_of[gap[0]]), int(stream.piece_of[gap[1] - 1]) + 1)


def note_mismatches(alignment: Alignment, gap: tuple[int, int], other: tuple[int, int]) -> None:
    """Note the unequal parts of two gaps, widened to whole words."""
    witness, text = alignment.witness, alignment.text
    opcodes = Levenshtein.opcodes(
        witness.letters[gap[0] : gap[1]], text.letters[other[0] : other[1]]
    )
    for o in opcodes:
        if o.tag != "equal":
            note(
                alignment,
                words_at(witness, (gap[0] + o.src_start, gap[0] + o.src_end)),
                words_at(text, (other[0] + o.dest_start, other[0] + o.dest_end)),
            )


def note(alignment: Alignment, one: range, two: range) -> None:
    """Note a mismatch of these words and of the words that they are partly matched with."""
    witness, text = alignment.witness, alignment.text
    two = _with_partners(two, one, witness, alignment.to_text, text)
    one = _with_partners(one, two, text, alignment.to_witness, witness)
    if not one or not two or len(one) > MAX_WORDS or len(two) > MAX_WORDS:
        return
    last = alignment.mismatches[-1] if alignment.mismatches else None
    if last and (_touch(one, last.witness) or _touch(two, last.text)):
        alignment.mismatches.pop()
        one, two = _join(one, last.witness), _join(two, last.text)
    alignment.mismatches.append(Mismatch(one, two))


def note_halves(alignment: Alignment) -> None:
    """Note words of which only some letters are matched."""
    known = {index for mismatch in alignment.mismatches for index in mismatch.witness}
    for index in _halves(alignment.witness, alignment.to_text):
        if index not in known:
            note(alignment, range(index, index + 1), range(0))
    known = {index for mismatch in alignment.mismatches for index in mismatch.text}
    for index in _halves(alignment.text, alignment.to_witness):
        if index not in known:
            note(alignment, range(0), range(index, index + 1))


def _halves(stream: Stream, taken: Letters) -> list[int]:
    matched = np.add.reduceat((taken >= 0).astype(np.int64), stream.starts[:-1])
    halves: list[int] = np.flatnonzero((matched > 0) & (matched < np.diff(stream.starts))).tolist()
    return halves


def _with_partners(
    found: range, pieces: range, stream: Stream, partners: Letters, other: Stream
) -> range:
    """`found`, and the pieces of `other` that letters of `pieces` are matched with."""
    if not pieces:
        return found
    matched = partners[stream.starts[pieces.start] : stream.starts[pieces.stop]]
    matched = matched[matched >= 0]
    if not len(matched):
        return found
    touched = other.piece_of[matched]
    return _join(found, range(int(touched.min()), int(touched.max()) + 1))


def _touch(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop


def _join(one: range, other: range) -> range:
    if not one or not other:
        return one or other
    return range(min(one.start, other.start), max(one.stop, other.stop))
