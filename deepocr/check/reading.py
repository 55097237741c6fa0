"""The text to be checked, as words without tags and markup, whichever program wrote it."""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepocr.check.words import Piece, letters_of, split_words
from deepocr.render.markdown import FIGURE_LABELS, TEXT_LABELS
from deepocr.types import Box, Region

_TOKEN = re.compile(
    r"(?P<skip><!--.*?-->|!\[[^\]\n]*\]\([^)\n]*\)|^```\w*|<\|[^|\n]{0,2000}\|>)"
    r"|(?P<formula>\$\$.+?\$\$|\\\(.+?\\\)|\\\[.+?\\\]|(?<![\\$\w])\$(?=\S)[^$\n]+?(?<=\S)\$(?!\d))"
    r"|(?P<link>\]\([^)\s]*\))"
    r"|(?P<tag></?[A-Za-z][^<>]{0,300}>)"
    r"|(?P<break>\n\s*\n|\s\|\s)"
    r"|(?P<word>\n|\S[^\s<$!\\`\]]*)",
    re.DOTALL | re.MULTILINE,
)
_COMMAND = re.compile(r"\\[A-Za-z]+|\\.")
_CELL = re.compile(r"</?(?:t[rdh]|table|li|p|div|h\d|center|br)\b", re.IGNORECASE)


@dataclass(frozen=True)
class WrittenText:
    """The words of a page's text in the order in which they were written; the region of each block,
    and where in the region's text the block ends (a table's cells end with the table); and the
    boxes of figures."""

    pieces: tuple[Piece, ...]
    region_of_block: tuple[int, ...]
    block_ends: tuple[int, ...]
    figures_px: tuple[Box, ...]


def read_regions(regions: Sequence[Region]) -> WrittenText:
    """A page's regions as words. Each word gets the first box of its region."""
    pieces: list[Piece] = []
    region_of_block: list[int] = []
    block_ends: list[int] = []
    figures: list[Box] = []
    for number, region in enumerate(regions):
        if region.label in FIGURE_LABELS:
            figures += region.boxes_px
        # for some tasks the label is the text
        text = region.text or ("" if region.label in TEXT_LABELS else region.label)
        box = region.boxes_px[0] if region.boxes_px else None
        for block, end in _blocks(text, len(region_of_block), box):
            pieces += block
            region_of_block.append(number)
            block_ends.append(len(text) if block[-1].in_table else end)
    return WrittenText(tuple(pieces), tuple(region_of_block), tuple(block_ends), tuple(figures))


def _blocks(text: str, first: int, box: Box | None) -> Iterator[tuple[list[Piece], int]]:
    """The words of each block (a paragraph or table cell), and where it ends. Blocks are numbered
    from `first`."""
    block: list[Piece] = []
    number = first
    in_table = False
    for match in _TOKEN.finditer(text):
        kind, token = match.lastgroup, match.group()
        if kind == "break" or (kind == "tag" and _CELL.match(token)):
            in_table = in_table or token.lower().startswith("<table") or "|" in token
            if token.lower().startswith("</table") or "\n" in token:
                in_table = False
            if block:
                yield block, match.start()
                block, number = [], number + 1
        elif kind in ("word", "formula"):
            formula = kind == "formula"
            plain = token
            if formula or "&" in token:
                plain = html.unescape(_COMMAND.sub(" ", token) if formula else token)
            at = 0
            for word in split_words(plain):
                at = plain.index(word, at) + len(word)
                end = match.start() + at if plain is token else match.end()
                block.append(Piece(word, letters_of(word), number, box, formula, in_table, end))
    if block:
        yield block, len(text)
