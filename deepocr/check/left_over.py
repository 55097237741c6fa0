"""What is left over on both sides after an alignment: words in another order, and numbers that
differ by a digit."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from rapidfuzz.distance import Levenshtein

from deepocr.check.alignment import Alignment, Letters, Mismatch
from deepocr.check.words import Stream

MIN_DIGITS = 2
"""Least number of digits of a number that is recognized although one digit differs."""

MIN_WORD = 4
"""Least number of letters of a single word that is matched anywhere; numbers may be shorter."""

MIN_ALIKE = 0.5
"""Share of equal letters from which two gaps count as the same words, read differently."""


def settle(alignment: Alignment) -> None:
    """Match mismatched words elsewhere, as in a table in another order. The others are matched as
    far as they are alike and stay mismatches."""
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
    """Indexes of the pieces without a matched letter."""
    free: list[int] = np.flatnonzero(
        np.logical_and.reduceat(taken < 0, stream.starts[:-1])
    ).tolist()
    return free


def _other_numbers(alignment: Alignment, known: Sequence[Mismatch]) -> Iterator[Mismatch]:
    """Numbers left over on both sides, wherever they stand, that differ by one digit."""
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
    """The range from the first to the last of these pieces that have no match."""
    free = [i for i in pieces if (taken[stream.starts[i] : stream.starts[i + 1]] < 0).all()]
    return range(free[0], free[-1] + 1) if free else range(0)


def _pair_alike(alignment: Alignment, one: range, two: range) -> None:
    """Match the equal letters of words that are much alike."""
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


def _take_left_over(alignment: Alignment) -> None:
    """Match equal lines and cells that are free on both sides, then single words."""
    for whole in (True, False):
        free = defaultdict(list)
        for letters, pieces in _free_units(alignment.text, alignment.to_witness, whole):
            free[letters].append(pieces)
        for letters, pieces in _free_units(alignment.witness, alignment.to_text, whole):
            if free[letters]:
                first = int(alignment.witness.starts[pieces.start])
                second = int(alignment.text.starts[free[letters].pop(0).start])
                alignment.pair(first, second, len(letters))


def _free_units(stream: Stream, taken: Letters, whole: bool) -> Iterator[tuple[str, range]]:
    """The letters and pieces of lines (or words) without a matched letter."""
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
