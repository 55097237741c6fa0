"""Compares a text with a witness: findings with their places, scores, and a verdict."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from deepocr.check.align import align
from deepocr.check.alignment import Alignment, Mismatch
from deepocr.check.formulas import with_formulas
from deepocr.check.furniture import furniture_lines
from deepocr.check.misread import reads_otherwise
from deepocr.check.order import jumps
from deepocr.check.places import Places
from deepocr.check.reading import WrittenText
from deepocr.check.thresholds import FOR_WITNESS, Thresholds
from deepocr.check.witness import Witness, union
from deepocr.check.words import WIDE, Piece, Stream, runs_of
from deepocr.types import Box, Finding, FindingKind, PageCheck, Verdict

FOUND = 0.6
"""Share of a word's letters that must be matched for the word to count as found."""

MAX_FOREIGN = 0.3
"""Share of letters in scripts that the witness cannot read above which there is no verdict."""

LOST = 0.4
"""A line is lost if a smaller share of its letters is found: some words occur on every page."""

TINY = 3

BRIDGE_LETTERS = 3
"""A run of lost words continues across found words with up to this many letters."""

Flags = npt.NDArray[np.bool_]


def compare(
    page: int,
    size_px: tuple[int, int],
    reading: WrittenText,
    witness: Witness,
    thresholds: Thresholds | None = None,
) -> PageCheck:
    """Check the text of one page against its witness; the verdict is "no witness" without one."""
    if witness.name == "none":
        return PageCheck(page, "no witness", witness.name, witness.reason)
    foreign = _foreign(reading, witness)
    if foreign > MAX_FOREIGN:
        reason = f"{foreign:.0%} of the text is in a script that the CPU reader does not know"
        return PageCheck(page, "no witness", "none", reason)
    sheet = _Comparison(page, size_px, reading, witness, thresholds or FOR_WITNESS[witness.name])
    return sheet.check()


@dataclass(frozen=True)
class _Run:
    """Consecutive words of one side that the other side lacks."""

    pieces: range
    letters: int


class _Comparison:
    """One page's comparison."""

    def __init__(
        self,
        page: int,
        size_px: tuple[int, int],
        reading: WrittenText,
        witness: Witness,
        thresholds: Thresholds,
    ) -> None:
        self._page = page
        self._size_px = size_px
        self._reading = reading
        self._witness = witness
        self._limits = thresholds
        self._alignment: Alignment = align(Stream.of(witness.pieces()), Stream.of(reading.pieces))
        self._seen, self._text = self._alignment.witness, self._alignment.text
        self._num_pieces = Counter(piece.line for piece in self._seen.pieces)
        self._places = Places(self._alignment, witness.lines, reading)
        self._found = _found(self._seen, self._alignment.to_text)
        self._supported = _found(self._text, self._alignment.to_witness)
        self._supported |= self._text.optional
        self._found = with_formulas(self._alignment, self._found)
        self._supported |= np.array(
            [not witness.can_read(piece.letters[0]) for piece in self._text.pieces], bool
        )

    def check(self) -> PageCheck:
        excused = self._furniture()
        misread = list(self._misread())
        for mismatch, _ in misread:
            # reported only once
            self._found[mismatch.witness.start : mismatch.witness.stop] = True
            self._supported[mismatch.text.start : mismatch.text.stop] = True
        lacking = [
            run for run in self._runs(self._seen, self._found | excused) if self._is_missing(run)
        ]
        added = [
            run
            for run in self._runs(self._text, self._supported)
            if run.letters >= self._limits.unsupported_letters
        ]
        findings = [
            *(finding for run in lacking for finding in self._missing(run.pieces)),
            *(self._unsupported(run) for run in added),
            *(finding for _, finding in misread),
            *self._order(),
            *(
                finding
                for run in runs_of(excused)
                for finding in self._by_line("furniture", range(*run))
            ),
        ]
        coverage = _share(self._seen, self._found, ~(excused | self._seen.optional))
        support = _share(self._text, self._supported, ~self._text.optional)
        verdict = self._verdict(findings, coverage, support, [*lacking, *added])
        return PageCheck(
            self._page,
            verdict,
            self._witness.name,
            self._witness.reason,
            round(coverage, 4),
            round(support, 4),
            tuple(findings),
        )

    def _verdict(
        self, findings: Sequence[Finding], coverage: float, support: float, runs: Sequence[_Run]
    ) -> Verdict:
        kinds = {finding.kind for finding in findings} - {"furniture"}
        if not kinds:
            return "confirmed"
        limits = self._limits
        longest = max((run.letters for run in runs), default=0)
        if min(coverage, support) < limits.contradicted_share or "order" in kinds:
            return "contradicted"
        return "contradicted" if longest >= limits.contradicted_run else "doubtful"

    def _furniture(self) -> Flags:
        """Which words of the witness are page furniture, which engines need not write."""
        by_line: dict[int, list[bool]] = defaultdict(list)
        for piece, found in zip(self._seen.pieces, self._found, strict=True):
            by_line[piece.line] += [bool(found)] * len(piece.letters)
        lost = {line for line, found in by_line.items() if sum(found) < LOST * len(found)}
        lines = furniture_lines(self._witness.lines, lost, self._size_px, self._reading.figures_px)
        return np.array([piece.line in lines for piece in self._seen.pieces], bool)

    def _runs(self, stream: Stream, found: Flags) -> Iterator[_Run]:
        """Runs of words that are not found, including short found words between them."""
        runs: list[range] = []
        for start, end in runs_of(~found):
            between = range(runs[-1].stop, start) if runs else range(0)
            if runs and _letters(stream, between) <= BRIDGE_LETTERS:
                runs[-1] = range(runs[-1].start, end)
            else:
                runs.append(range(start, end))
        for run in runs:
            lost = [i for i in run if not found[i] and not self._tiny(stream, i)]
            yield _Run(run, sum(len(stream.pieces[i].letters) for i in lost))

    def _tiny(self, stream: Stream, index: int) -> bool:
        """Whether a word is one or two letters on a line of their own: scraps of a figure or
        formula."""
        piece = stream.pieces[index]
        alone = all(
            not 0 <= near < len(stream.pieces) or stream.pieces[near].line != piece.line
            for near in (index - 1, index + 1)
        )
        return alone and len(piece.letters) < TINY and piece.letters.isalpha()

    def _is_missing(self, run: _Run) -> bool:
        if run.letters >= self._limits.missing_letters:
            return True
        lines = {self._seen.pieces[index].line for index in run.pieces}
        whole = (
            sum(len(piece.letters) for piece in self._seen.pieces if piece.line in lines)
            == run.letters
        )
        return whole and run.letters >= self._limits.missing_line

    def _missing(self, run: range) -> Iterator[Finding]:
        """What the text lacks, line by line, with the place where it belongs."""
        for part in self._places.parts(run):
            place = self._places.of(part)
            region, offset = (None, 0) if place is None else (place.region, place.offset)
            for finding in self._by_line("missing", part):
                yield replace(finding, region=region, offset=offset)

    def _by_line(self, kind: FindingKind, run: range) -> Iterator[Finding]:
        """A finding for each line of these words of the witness."""
        for _, group in groupby(run, lambda index: self._seen.pieces[index].line):
            pieces = [self._seen.pieces[index] for index in group]
            whole = len(pieces) == self._num_pieces[pieces[0].line]
            text = self._witness.lines[pieces[0].line].text if whole else _text(pieces)
            yield Finding(kind, self._page, _box(pieces), text, "")

    def _unsupported(self, run: _Run) -> Finding:
        pieces = [self._text.pieces[index] for index in run.pieces]
        region = self._region(pieces[0])
        return Finding("unsupported", self._page, _box(pieces), "", _text(pieces), region)

    def _misread(self) -> Iterator[tuple[Mismatch, Finding]]:
        """Numbers and names that differ between witness and text."""
        for mismatch in self._alignment.mismatches:
            seen = [self._seen.pieces[index] for index in mismatch.witness]
            text = [self._text.pieces[index] for index in mismatch.text]
            formula = (
                self._seen.optional[mismatch.witness.start : mismatch.witness.stop].any()
                or self._text.optional[mismatch.text.start : mismatch.text.stop].any()
            )
            if reads_otherwise(seen, text, self._limits, formula=bool(formula)):
                texts = _text(seen), _text(text)
                region = self._region(text[0])
                yield mismatch, Finding("differs", self._page, _box(seen), *texts, region)

    def _order(self) -> Iterator[Finding]:
        found = jumps(self._alignment, self._witness.lines)
        if len(found) >= self._limits.order_jumps:
            for first, second in found:
                one, two = self._witness.lines[first], self._witness.lines[second]
                yield Finding(
                    "order", self._page, union([one.box_px, two.box_px]), one.text, two.text
                )

    def _region(self, piece: Piece) -> int:
        return self._reading.region_of_block[piece.line]


def _foreign(reading: WrittenText, witness: Witness) -> float:
    letters = "".join(piece.letters for piece in reading.pieces)
    return sum(not witness.can_read(letter) for letter in letters) / max(1, len(letters))


_WIDE_SPACE = re.compile(f"(?<=[{WIDE}]) (?=[{WIDE}])")


def _found(stream: Stream, partners: npt.NDArray[np.int64]) -> Flags:
    """Which words have enough of their letters on the other side."""
    if not len(stream.pieces):
        return np.zeros(0, bool)
    matched = np.add.reduceat((partners >= 0).astype(np.int64), stream.starts[:-1])
    enough: Flags = matched >= FOUND * np.diff(stream.starts)
    return enough


def _share(stream: Stream, found: Flags, counted: Flags) -> float:
    """Share of the letters of counted words that belong to found words; 1 if nothing is counted."""
    sizes = np.diff(stream.starts)
    total = int(sizes[counted].sum())
    return float(sizes[counted & found].sum()) / total if total else 1.0


def _letters(stream: Stream, pieces: range) -> int:
    return int(stream.starts[pieces.stop] - stream.starts[pieces.start]) if pieces else 0


def _text(pieces: Sequence[Piece]) -> str:
    return _WIDE_SPACE.sub("", " ".join(piece.text for piece in pieces))


def _box(pieces: Sequence[Piece]) -> Box | None:
    boxes = [piece.box_px for piece in pieces if piece.box_px is not None]
    return union(boxes) if boxes else None
