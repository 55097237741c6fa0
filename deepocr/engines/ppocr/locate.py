"""Where a reference text stands on a page: approximate match against its lines."""

from collections.abc import Sequence
from dataclasses import dataclass

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.types import Box

MIN_SIMILARITY = 80.0
"""Of 100. Below it a match is another word."""


@dataclass(frozen=True)
class Match:
    """A place and how sure we are of it, 0 to 1."""

    box_px: Box
    confidence: float


def locate(reference: str, lines: Sequence[TextLine]) -> list[Match]:
    """All lines that hold the reference; if none does, the run of two or three lines that does.

    The box of a match inside a line covers the matched part only.
    """
    single = [match for line in lines if (match := _match_line(reference, line)) is not None]
    if single:
        return single
    return _match_run(reference, lines, 2) or _match_run(reference, lines, 3)


def _match_line(reference: str, line: TextLine) -> Match | None:
    from rapidfuzz import fuzz

    wanted, text = reference.casefold(), line.text.casefold()
    # a line shorter than the reference would be slid over it, and half of it would do
    if len(text) < len(wanted) and fuzz.ratio(wanted, text) < MIN_SIMILARITY + 10:
        return None
    found = fuzz.partial_ratio_alignment(wanted, text, score_cutoff=MIN_SIMILARITY)
    if found is None:
        return None
    # dest is the span in the line; the shorter of the two is slid over the longer
    start, end = found.dest_start, max(found.dest_end, found.dest_start + 1)
    x1, y1, x2, y2 = line.box_px
    if len(line.char_x_px) == len(text):
        half_px = 0.25 * line.height_px
        left = max(x1, round(line.char_x_px[start] - half_px))
        right = min(x2, round(line.char_x_px[end - 1] + half_px))
    else:
        left, right = x1, x2
    return Match((left, y1, max(right, left), y2), found.score / 100 * line.confidence)


def _match_run(reference: str, lines: Sequence[TextLine], count: int) -> list[Match]:
    """The best run of `count` lines, one box a line; empty when none is alike enough."""
    from rapidfuzz import fuzz

    best_score, best_start = MIN_SIMILARITY, -1
    wanted = reference.casefold()
    for start in range(len(lines) - count + 1):
        run = lines[start : start + count]
        text = " ".join(line.text.casefold() for line in run)
        score = fuzz.partial_ratio(wanted, text)
        if len(text) >= len(wanted) * 0.8 and score > best_score:
            best_score, best_start = score, start
    if best_start < 0:
        return []
    return [
        Match(line.box_px, best_score / 100 * line.confidence)
        for line in lines[best_start : best_start + count]
    ]
