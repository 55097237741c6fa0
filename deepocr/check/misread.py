"""Whether two words in the same place are different numbers or names, not spellings of the same."""

from collections.abc import Sequence

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from deepocr.check.thresholds import Thresholds
from deepocr.check.words import Piece

_LOOKALIKES = str.maketrans("lio", "110")


def reads_otherwise(
    seen: Sequence[Piece], text: Sequence[Piece], limits: Thresholds, *, formula: bool
) -> bool:
    """Whether the words are different. `formula`: either side is part of an unmarked formula."""
    if any(piece.formula for piece in text) or _one_more(seen, text):
        return False
    if formula:
        return limits.formula_digits and _other_digits(seen, text)
    return _other_number(seen, text, limits) or _other_name(seen, text, limits)


def _one_more(seen: Sequence[Piece], text: Sequence[Piece]) -> bool:
    """Whether one side only has more words: these are missing or added, not misread."""
    few, many = sorted((seen, text), key=len)
    return len(few) < len(many) and {p.letters for p in few} <= {p.letters for p in many}


def _other_number(seen: Sequence[Piece], text: Sequence[Piece], limits: Thresholds) -> bool:
    """Whether the digits differ, even if letters that look like digits are read as digits."""
    one, two = ("".join(piece.letters for piece in pieces) for pieces in (seen, text))
    counts = len(_digits(one)), len(_digits(two))
    if not all(counts) or (counts[0] != counts[1] and min(counts) < limits.short_number):
        return False
    alike = _digits(one.translate(_LOOKALIKES)) == _digits(two.translate(_LOOKALIKES))
    return _digits(one) != _digits(two) and not alike


def _other_digits(seen: Sequence[Piece], text: Sequence[Piece]) -> bool:
    """Whether the words are the same except for one or two digits."""
    one, two = ("".join(piece.letters for piece in pieces) for pieces in (seen, text))
    other = [pair for pair in zip(one, two, strict=False) if pair[0] != pair[1]]
    digits = all(a.isdecimal() and b.isdecimal() for a, b in other)
    return len(one) == len(two) and 1 <= len(other) <= 2 and digits


def _digits(letters: str) -> str:
    return "".join(character for character in letters if character.isdecimal())


def _other_name(seen: Sequence[Piece], text: Sequence[Piece], limits: Thresholds) -> bool:
    if abs(len(seen) - len(text)) > 1:
        return False
    if not any(piece.text.lstrip("([\"'“‘")[:1].isupper() for piece in (*seen, *text)):
        return False
    one, two = ("".join(piece.letters for piece in pieces) for pieces in (seen, text))
    if min(len(one), len(two)) < 3:
        return False
    edits = Levenshtein.distance(one, two)
    return edits >= limits.name_edits and fuzz.ratio(one, two) < 100 * limits.name_alike
