"""Which letters of one text stand where in another, whatever the order of their parts.

Long equal stretches are taken first, each letter once: a paragraph that is written twice finds the
witness's one paragraph only once. What lies between two stretches is then aligned letter by letter,
and short words that are left over, such as cells of a table in another order, find each other.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import Levenshtein

from deepocr.check.words import Stream, runs_of

SEED, WIDE_SEED = 8, 4
"""Letters that must be equal for a stretch to begin with; a Chinese character says more."""

MAX_PAIRS = 500
"""A stretch that begins at more pairs of places than this says nothing (a loop, a row of zeros)."""

SURE_BLOCK = 4
"""Equal letters within a gap that are no chance."""

MIN_ALIKE = 0.5
"""Share of equal letters from which two gaps are the same words, read differently."""

Letters = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mismatch:
    """Words of the witness and of the text that stand in the same place and are not equal: ranges
    of pieces."""

    witness: range
    text: range


@dataclass(eq=False)
class Alignment:
    """`to_text[i]` is the text's letter for the witness's letter i, or -1; `to_witness` the way
    back."""

    witness: Stream
    text: Stream
    to_text: Letters
    to_witness: Letters
    mismatches: list[Mismatch] = field(default_factory=list)

    def pair(self, first: int, second: int, size: int) -> None:
        """Letters from `first` of the witness on are those from `second` of the text on."""
        self.to_text[first : first + size] = np.arange(second, second + size)
        self.to_witness[second : second + size] = np.arange(first, first + size)

    def release(self, mismatch: Mismatch) -> None:
        """Unmatch the words of both sides, with whatever they are matched with."""
        for stream, pieces, there, back in (
            (self.witness, mismatch.witness, self.to_text, self.to_witness),
            (self.text, mismatch.text, self.to_witness, self.to_text),
        ):
            letters = slice(stream.starts[pieces.start], stream.starts[pieces.stop])
            matched = there[letters]
            back[matched[matched >= 0]] = -1
            there[letters] = -1


def align(witness: Stream, text: Stream) -> Alignment:
    """Both texts' letters, matched. Time grows with their lengths, whatever they say."""
    alignment = Alignment(
        witness,
        text,
        np.full(len(witness.letters), -1, np.int64),
        np.full(len(text.letters), -1, np.int64),
    )
    if witness.letters and text.letters:
        _take_stretches(alignment)
        _fill_gaps(alignment)
        _note_halves(alignment)
        _settle(alignment)
    return alignment


def _take_stretches(alignment: Alignment) -> None:
    """The longest stretch first, each cut to what is still free."""
    one, two = _codes(alignment.witness.letters), _codes(alignment.text.letters)
    wide = int((one >= 0x2E80).sum() + (two >= 0x2E80).sum())
    seed = WIDE_SEED if wide > 0.3 * (len(one) + len(two)) else SEED
    heap = [(-size, first, second) for first, second, size in _stretches(one, two, seed)]
    heapq.heapify(heap)
    while heap:
        size, first, second = heapq.heappop(heap)
        size = -size
        taken = (alignment.to_text[first : first + size] >= 0) | (
            alignment.to_witness[second : second + size] >= 0
        )
        if not taken.any():
            alignment.pair(first, second, size)
            continue
        for start, end in runs_of(~taken):
            if end - start >= seed:
                heapq.heappush(heap, (start - end, first + start, second + start))


def _codes(letters: str) -> npt.NDArray[np.uint64]:
    return np.frombuffer(letters.encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)


def _stretches(
    one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64], seed: int
) -> Iterator[tuple[int, int, int]]:
    """Start in each and length of all equal stretches of at least `seed` letters."""
    if min(len(one), len(other)) < seed:
        return
    hashes, others = _hashes(one, seed), _hashes(other, seed)
    by_hash = np.argsort(others, kind="stable")
    low = np.searchsorted(others[by_hash], hashes, "left")
    counts = np.searchsorted(others[by_hash], hashes, "right") - low
    _, inverse, times = np.unique(hashes, return_inverse=True, return_counts=True)
    counts[counts * times[inverse] > MAX_PAIRS] = 0
    if not counts.any():
        return
    firsts = np.repeat(np.arange(len(hashes)), counts)
    within = np.arange(len(firsts)) - np.repeat(np.cumsum(counts) - counts, counts)
    seconds = by_hash[np.repeat(low, counts) + within]
    order = np.lexsort((firsts, seconds - firsts))
    firsts, seconds = firsts[order], seconds[order]
    goes_on = (np.diff(firsts) == 1) & (np.diff(seconds) == 1)
    starts = np.flatnonzero(np.concatenate([[True], ~goes_on]))
    ends = np.append(starts[1:], len(firsts))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        yield int(firsts[start]), int(seconds[start]), end - start + seed - 1


def _hashes(codes: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """A number for each `seed` letters; wraps around, equal numbers are equal letters."""
    size = len(codes) - seed + 1
    total = np.zeros(size, np.uint64)
    for offset in range(seed):
        total = total * np.uint64(0x9E3779B97F4A7C15) + codes[offset : offset + size]
    return total


def _fill_gaps(alignment: Alignment) -> None:
    """Letters between two stretches: both gaps if they lie between the same two, else each side."""
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
    """Where the free letters from `start` on end."""
    used = np.flatnonzero(taken[start:] >= 0)
    return start + int(used[0]) if len(used) else len(taken)


def _free_before(taken: Letters, end: int) -> int:
    used = np.flatnonzero(taken[:end] >= 0)
    return int(used[-1]) + 1 if len(used) else 0


def _align_gap(alignment: Alignment, gap: tuple[int, int], other: tuple[int, int]) -> int:
    """Aligns the letters of two gaps; gives the first letter of `gap` after what was aligned."""
    (start, end), (low, high) = gap, other
    size = min(end - start, high - low)
    if size <= 0:
        return start
    opcodes = Levenshtein.opcodes(
        alignment.witness.letters[start:end], alignment.text.letters[low:high]
    )
    if _other_words(alignment, gap, other):
        # equal ones may stand elsewhere; letters they share say nothing
        _note(alignment, _words(alignment.witness, gap), _words(alignment.text, other))
        return end
    equal = [o for o in opcodes if o.tag == "equal"]
    letters = sum(o.src_end - o.src_start for o in equal)
    if letters >= MIN_ALIKE * max(end - start, high - low):
        for o in equal:
            alignment.pair(start + o.src_start, low + o.dest_start, o.src_end - o.src_start)
        _note_mismatches(alignment, gap, other)
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
    """One or two whole words stand in place of as many others, with numbers or little in common."""
    one, two = _words(alignment.witness, gap), _words(alignment.text, other)
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


def _words(stream: Stream, gap: tuple[int, int]) -> range:
    if gap[0] >= gap[1]:
        return range(0)
    return range(int(stream.piece_of[gap[0]]), int(stream.piece_of[gap[1] - 1]) + 1)


def _note_mismatches(alignment: Alignment, gap: tuple[int, int], other: tuple[int, int]) -> None:
    """The unequal parts of two gaps, widened to whole words."""
    witness, text = alignment.witness, alignment.text
    opcodes = Levenshtein.opcodes(
        witness.letters[gap[0] : gap[1]], text.letters[other[0] : other[1]]
    )
    for o in opcodes:
        if o.tag != "equal":
            _note(
                alignment,
                _words(witness, (gap[0] + o.src_start, gap[0] + o.src_end)),
                _words(text, (other[0] + o.dest_start, other[0] + o.dest_end)),
            )


def _note(alignment: Alignment, one: range, two: range) -> None:
    """A mismatch of these words, and of what is left of a word on the other side."""
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


def _settle(alignment: Alignment) -> None:
    """Words that do not match where they stand may be found elsewhere: a table in another order.
    What is not is matched as far as it goes, and stays a mismatch."""
    for mismatch in alignment.mismatches:
        alignment.release(mismatch)
    _take_left_over(alignment)
    open_ones = []
    for mismatch in alignment.mismatches:
        one = _still_free(alignment.witness, alignment.to_text, mismatch.witness)
        two = _still_free(alignment.text, alignment.to_witness, mismatch.text)
        if one and two:
            _pair_alike(alignment, one, two)
            open_ones.append(Mismatch(one, two))
    open_ones += _beside(alignment, open_ones)
    alignment.mismatches = [*open_ones, *_other_numbers(alignment, open_ones)]


def _beside(alignment: Alignment, known: Sequence[Mismatch]) -> list[Mismatch]:
    """Words left over on both sides whose neighbors in their line are matched with each other."""
    seen, text = alignment.witness, alignment.text
    open_text = set(_open_pieces(text, alignment.to_witness))
    open_text.difference_update(*(mismatch.text for mismatch in known))
    told = {index for mismatch in known for index in mismatch.witness}
    found = []
    for index in _open_pieces(seen, alignment.to_text):
        if index in told:
            continue
        for step in (-1, 1):
            if not 0 <= index + step < len(seen.pieces):
                continue
            if seen.pieces[index + step].line != seen.pieces[index].line:
                continue
            near = seen.starts[index] - 1 if step < 0 else seen.starts[index + 1]
            partner = int(alignment.to_text[near])
            place = int(text.piece_of[partner]) - step if partner >= 0 else -1
            if place in open_text:
                open_text.remove(place)
                found.append(Mismatch(range(index, index + 1), range(place, place + 1)))
                break
    return found


def _open_pieces(stream: Stream, taken: Letters) -> list[int]:
    """Pieces of which no letter is matched."""
    free: list[int] = np.flatnonzero(
        np.logical_and.reduceat(taken < 0, stream.starts[:-1])
    ).tolist()
    return free


def _other_numbers(alignment: Alignment, known: Sequence[Mismatch]) -> Iterator[Mismatch]:
    """Numbers left over on both sides, wherever they stand, of which one digit is another."""
    told = {index for mismatch in known for index in mismatch.text}
    left = _numbers(alignment.witness, alignment.to_text)
    for number, place in _numbers(alignment.text, alignment.to_witness):
        for entry in left if place not in told else ():
            if len(number) == len(entry[0]) and Levenshtein.distance(number, entry[0]) == 1:
                yield Mismatch(range(entry[1], entry[1] + 1), range(place, place + 1))
                left.remove(entry)
                break


def _numbers(stream: Stream, taken: Letters) -> list[tuple[str, int]]:
    return [
        (letters, index)
        for index in _open_pieces(stream, taken)
        if (letters := stream.pieces[index].letters).isdecimal() and len(letters) >= MIN_DIGITS
    ]


def _still_free(stream: Stream, taken: Letters, pieces: range) -> range:
    """From the first to the last of the pieces without a match."""
    free = [i for i in pieces if (taken[stream.starts[i] : stream.starts[i + 1]] < 0).all()]
    return range(free[0], free[-1] + 1) if free else range(0)


def _pair_alike(alignment: Alignment, one: range, two: range) -> None:
    """The equal letters of words that are much alike."""
    start, end = alignment.witness.starts[one.start], alignment.witness.starts[one.stop]
    low, high = alignment.text.starts[two.start], alignment.text.starts[two.stop]
    opcodes = Levenshtein.opcodes(
        alignment.witness.letters[start:end], alignment.text.letters[low:high]
    )
    equal = [o for o in opcodes if o.tag == "equal"]
    if sum(o.src_end - o.src_start for o in equal) >= MIN_ALIKE * max(end - start, high - low):
        for o in equal:
            alignment.pair(
                int(start) + o.src_start, int(low) + o.dest_start, o.src_end - o.src_start
            )


def _note_halves(alignment: Alignment) -> None:
    """Words of which some letters are matched and some are not, beside longer gaps."""
    known = {index for mismatch in alignment.mismatches for index in mismatch.witness}
    for index in _halves(alignment.witness, alignment.to_text):
        if index not in known:
            _note(alignment, range(index, index + 1), range(0))
    known = {index for mismatch in alignment.mismatches for index in mismatch.text}
    for index in _halves(alignment.text, alignment.to_witness):
        if index not in known:
            _note(alignment, range(0), range(index, index + 1))


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


def _take_left_over(alignment: Alignment) -> None:
    """Whole lines and cells that are free on both sides and equal, then single words."""
    for whole in (True, False):
        free = defaultdict(list)
        for letters, pieces in _free_units(alignment.text, alignment.to_witness, whole):
            free[letters].append(pieces)
        for letters, pieces in _free_units(alignment.witness, alignment.to_text, whole):
            if free[letters]:
                first = int(alignment.witness.starts[pieces.start])
                second = int(alignment.text.starts[free[letters].pop(0).start])
                alignment.pair(first, second, len(letters))


MIN_DIGITS = 2
"""Of a number that is known again though one digit of it is another."""

MAX_WORDS = 6
"""Words of a mismatch: letters of longer ones are from different places."""

MIN_WORD = 4
"""Letters of a single word that may be found anywhere; numbers may be shorter."""


def _free_units(stream: Stream, taken: Letters, whole: bool) -> Iterator[tuple[str, range]]:
    """Lines (or words) of which no letter is matched: their letters and pieces."""
    free = np.logical_and.reduceat(taken < 0, stream.starts[:-1])
    numbers = range(len(stream.pieces))
    if whole:
        for _, group in groupby(numbers, lambda index: stream.pieces[index].line):
            line = list(group)
            if free[line].all():
                letters = "".join(stream.pieces[index].letters for index in line)
                yield letters, range(line[0], line[-1] + 1)
        return
    for index in numbers:
        letters = stream.pieces[index].letters
        if free[index] and (len(letters) >= MIN_WORD or letters.isdecimal()):
            yield letters, range(index, index + 1)
