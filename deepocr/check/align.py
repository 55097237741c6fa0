"""Which letters of one text stand where in another, whatever the order of their parts.

Long equal stretches are matched first, each letter at most once: a paragraph that is written twice
matches the witness's single paragraph only once. The gaps between stretches are then aligned letter
by letter. Last, remaining short words, such as the cells of a table in another order, are matched
wherever they stand.
"""

import numpy as np
from rapidfuzz.distance import Levenshtein

from deepocr.check.alignment import Alignment, Letters
from deepocr.check.left_over import MIN_ALIKE, settle
from deepocr.check.mismatches import note, note_halves, note_mismatches, words_at
from deepocr.check.stretches import equal_stretches
from deepocr.check.words import Stream, runs_of

SURE_BLOCK = 4
"""Number of equal letters in a row within a gap that cannot be a coincidence."""


def align(witness: Stream, text: Stream) -> Alignment:
    """Match the letters of both texts. Time depends on their lengths, not on their content."""
    alignment = Alignment(
        witness,
        text,
        np.full(len(witness.letters), -1, np.int64),
        np.full(len(text.letters), -1, np.int64),
    )
    if witness.letters and text.letters:
        for first, second, size in equal_stretches(witness.letters, text.letters):
            alignment.pair(first, second, size)
        _fill_gaps(alignment)
        note_halves(alignment)
        settle(alignment)
    return alignment


def _fill_gaps(alignment: Alignment) -> None:
    """Align the letters between two stretches: both gaps at once if they lie between the same two
    stretches, else from each side."""
    for start, end in list(runs_of(alignment.to_text < 0)):
        after = int(alignment.to_text[start - 1]) + 1 if start else 0
        before = (
            int(alignment.to_text[end])
            if end < len(alignment.to_text)
            else len(alignment.to_witness)
        )
        right = _free_from(alignment.to_witness, after)
        if after <= before <= right:
            _align_gap(alignment, (start, end), (after, before))
        else:
            done = _align_gap(alignment, (start, end), (after, right))
            left = _free_before(alignment.to_witness, before)
            _align_gap(alignment, (done, end), (left, before))


def _free_from(taken: Letters, start: int) -> int:
    """The end of the free letters that begin at `start`."""
    used = np.flatnonzero(taken[start:] >= 0)
    return start + int(used[0]) if len(used) else len(taken)


def _free_before(taken: Letters, end: int) -> int:
    used = np.flatnonzero(taken[:end] >= 0)
    return int(used[-1]) + 1 if len(used) else 0


def _align_gap(alignment: Alignment, gap: tuple[int, int], other: tuple[int, int]) -> int:
    """Align the letters of two gaps; returns the first letter of `gap` after the aligned ones."""
    (start, end), (low, high) = gap, other
    size = min(end - start, high - low)
    if size <= 0:
        return start
    opcodes = Levenshtein.opcodes(
        alignment.witness.letters[start:end], alignment.text.letters[low:high]
    )
    if _other_words(alignment, gap, other):
        # equal words may stand elsewhere; letters that these happen to share mean nothing
        note(alignment, words_at(alignment.witness, gap), words_at(alignment.text, other))
        return end
    equal = [o for o in opcodes if o.tag == "equal"]
    letters = sum(o.src_end - o.src_start for o in equal)
    if letters >= MIN_ALIKE * max(end - start, high - low):
        for o in equal:
            alignment.pair(start + o.src_start, low + o.dest_start, o.src_end - o.src_start)
        note_mismatches(alignment, gap, other)
        return end
    sure = [o for o in equal if o.src_end - o.src_start >= SURE_BLOCK]
    done, below = start, low
    for o in sure:
        alignment.pair(start + o.src_start, low + o.dest_start, o.src_end - o.src_start)
        _align_gap(alignment, (done, start + o.src_start), (below, low + o.dest_start))
        done, below = start + o.src_end, low + o.dest_end
    if sure:
        _align_gap(alignment, (done, end), (below, high))
    return done


def _other_words(alignment: Alignment, gap: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one or two whole words stand in place of as many other words, and both have digits or
    they have little in common."""
    one, two = words_at(alignment.witness, gap), words_at(alignment.text, other)
    if not len(one) == len(two) <= 2:
        return False
    whole = (
        alignment.witness.starts[one.start] == gap[0]
        and alignment.witness.starts[one.stop] == gap[1]
        and alignment.text.starts[two.start] == other[0]
        and alignment.text.starts[two.stop] == other[1]
    )
    if not whole:
        return False
    letters = alignment.witness.letters[slice(*gap)], alignment.text.letters[slice(*other)]
    digits = all(any(c.isdecimal() for c in side) for side in letters)
    return digits or Levenshtein.normalized_similarity(*letters) < MIN_ALIKE
