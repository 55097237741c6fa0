"""A column's lines to paragraphs, headings, list items, captions and footnotes."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.recognition.pieces import bounds, find_rows
from deepocr.engines.ppocr.structure.text import HYPHENS, join_lines, tidy
from deepocr.types import Box

BULLET = re.compile(r"^[•·▪◦●○■□◆▶➢➤✓‣∙]\s*|^[-–—*]\s+")
NUMBERED = re.compile(
    r"^(?:\(?(?:\d{1,2}|[a-zA-Z]|[ivx]{1,4})[.)](?!\d)|\[\d{1,3}\](?![.,;:)]))\s*\S"
)
SECTION = re.compile(r"^(\d{1,2}(?:\.\d{1,2}){0,4})\.?\s+[^\W\d_]")
CAPTION = re.compile(r"^(figure|fig\.?|table|tab\.|chart|plate|图|表)\s*([\dIVX]+)", re.IGNORECASE)
KNOWN_HEADING = re.compile(
    r"^(?:abstract|introduction|references|bibliography|conclusions?|acknowledge?ments?|contents"
    r"|appendix(?: \w)?|summary|discussion|results|methods|preface|摘要|目录|参考文献)$",
    re.IGNORECASE,
)
NEW_NOTE = re.compile(r"^(?:[*†‡§¶]\s?|[¹²³⁴-⁹]+|\d{1,2}(?=[^\W\d]))[^\W\d_]")
NOTE = re.compile(r"^(?:[*†‡§¶⁰¹²³⁴-⁹]|\[?\d{1,3}\]?[\s.)]?)\s*[^\W\d]")

SMALL_PRINT = 0.93
"""Of the usual line's height: notes are set in letters this small."""

MAX_HEADING_CHARS = 160

WIDER, TALLER, BOLDER, APART = 1.12, 1.08, 1.2, 1.15
"""A heading's letters and the gap below it, against those of the text that follows."""


@dataclass(frozen=True)
class Row:
    """Lines side by side within a column."""

    lines: tuple[TextLine, ...]
    box_px: Box

    @property
    def longest(self) -> TextLine:
        return max(self.lines, key=lambda line: len(line.text))

    @property
    def height_px(self) -> float:
        """Of its letters, a longer piece counting more."""
        return self.longest.height_px

    @property
    def char_px(self) -> float:
        """Mean advance of a character; 0 where a row is too short to tell."""
        line = self.longest
        return line.width_px / len(line.text) if len(line.text) >= 10 else 0.0

    @property
    def text(self) -> str:
        return " ".join(line.text for line in self.lines)

    @property
    def middle_px(self) -> float:
        return (self.box_px[1] + self.box_px[3]) / 2


@dataclass(frozen=True)
class Style:
    """What is usual on the page: the height and width of its letters, its words with hyphens."""

    body_px: float
    char_px: float
    words: Collection[str]
    stroke: Callable[[TextLine], float]

    def bold(self, row: Row, other: Row) -> bool:
        """Are the strokes of a row wider than those of another, and its letters no narrower?"""
        narrower = 0 < row.char_px < other.char_px
        return not narrower and self.stroke(row.longest) > BOLDER * self.stroke(other.longest)

    def size(self, row: Row) -> float:
        """A row's letters against the page's. A high box around letters of the usual width holds
        something raised or lowered, so the width counts too."""
        tall = row.height_px / self.body_px
        wide = row.char_px / self.char_px if self.char_px and row.char_px else tall
        return tall if tall < max(1.15, 1.3 * wide) else max(1.0, 1.12 * wide)


@dataclass(frozen=True)
class Paragraph:
    """`level` is 1 to 6 for a heading, 0 for anything else; `markdown` has the marks."""

    label: str
    rows: tuple[Row, ...]
    text: str
    markdown: str

    @property
    def lines(self) -> tuple[TextLine, ...]:
        return tuple(line for row in self.rows for line in row.lines)


def body_height(lines: Sequence[TextLine]) -> float:
    """The height of most letters on a page."""
    heights = [line.height_px for line in lines if not line.vertical for _ in range(len(line.text))]
    return float(median(heights)) if heights else 20.0


def char_width(lines: Sequence[TextLine]) -> float:
    """The mean advance of characters in the longer lines of a page; 0 where there are none."""
    widths = [line.width_px / len(line.text) for line in lines if len(line.text) >= 10]
    return float(median(widths)) if widths else 0.0


def make_paragraphs(
    lines: Sequence[TextLine], titles: Sequence[Box], style: Style, footnote_top_px: float
) -> list[Paragraph]:
    """Paragraphs of one column, from top to bottom; `titles` are where a model sees headings."""
    rows = [Row(tuple(row), bounds(row)) for row in find_rows(lines)]
    if not rows:
        return []
    shape = _Shape.of(rows)
    groups: list[list[Row]] = [[rows[0]]]
    heads: dict[int, int] = {}
    for last, row in pairwise(rows):
        listed = any(NUMBERED.match(one.text) for one in (row, *(g[0] for g in groups[-2:-1])))
        signs = _head_signs(last, row, shape, style, listed) if len(groups[-1]) <= 2 else 0
        if signs >= 2:
            heads[len(groups) - 1] = signs
            groups.append([row])
        elif _begins(groups[-1], last, row, shape, style) or (
            row.box_px[1] > footnote_top_px
            and style.size(row) <= SMALL_PRINT
            and NEW_NOTE.match(row.text)
        ):
            groups.append([row])
        else:
            groups[-1].append(row)
    return [
        _paragraph(group, titles, style, footnote_top_px, heads.get(index, 0))
        for index, group in enumerate(groups)
    ]


@dataclass(frozen=True)
class _Shape:
    """A column: its edges, and how far apart its lines are."""

    left: int
    right: int
    pitch_px: float

    @staticmethod
    def of(rows: Sequence[Row]) -> "_Shape":
        pitches = [
            b.middle_px - a.middle_px
            for a, b in pairwise(rows)
            if b.middle_px - a.middle_px < 2.5 * a.height_px
        ]
        lefts = sorted(row.box_px[0] for row in rows)
        rights = sorted(row.box_px[2] for row in rows)
        usual = float(median(pitches)) if pitches else 1.5 * rows[0].height_px
        return _Shape(lefts[len(lefts) // 4], rights[-1 - len(rights) // 8], usual)


def _head_signs(last: Row, row: Row, shape: _Shape, style: Style, listed: bool) -> int:
    """How much says that a short row is a heading over the next: 2 parts them, 3 makes it one.

    `listed` tells a row among numbered ones, whose number is none of a section.
    """
    text = last.text.rstrip()
    short = last.box_px[2] < shape.right - 0.1 * (shape.right - shape.left)
    if not short or text.endswith((".", ",", ";", "-")) or row.text[:1].islower():
        return 0
    contrast = [
        last.char_px > WIDER * row.char_px > 0,
        style.size(last) > TALLER * style.size(row),
    ]
    others = [
        row.middle_px - last.middle_px > APART * shape.pitch_px,
        bool(KNOWN_HEADING.match(text) or (SECTION.match(text) and not listed)),
    ]
    # strokes differ from font to font, so they do not count alone
    bold = any(contrast + others) and style.bold(last, row)
    return sum(contrast + others) + 2 * bold if bold or any(contrast) else 0


def _begins(group: Sequence[Row], last: Row, row: Row, shape: _Shape, style: Style) -> bool:
    """Does a paragraph begin with this row?"""
    height = last.height_px
    change = style.size(row) / max(0.1, style.size(last))
    # a short row may have no letter that is high or low
    least = 0.78 if len(row.text) >= 15 else 0.6
    if not least < change < 1.28:
        return True
    if row.middle_px - last.middle_px > max(1.35 * shape.pitch_px, 1.3 * height):
        return True
    text = row.text
    if BULLET.match(text):
        return True
    # a full line that ends within a sentence goes on, with a number too: "as in / (1) above"
    ends_open = last.text.rstrip()[-1:] not in ".,;:!?)”" and last.box_px[2] > shape.right - height
    if NUMBERED.match(text) and row.box_px[0] <= group[0].box_px[0] + height and not ends_open:
        return True
    if CAPTION.match(text) and last.text.rstrip().endswith((".", ":", "?", "!")):
        return True
    indent, outdent = row.box_px[0] - last.box_px[0], last.box_px[2] - row.box_px[2]
    centered = abs(indent - outdent) < 0.8 * height and abs(indent) > 0.5 * height
    in_list = BULLET.match(group[0].text) or NUMBERED.match(group[0].text)
    # a heading goes on below its words, not below its number
    room = shape.right - row.box_px[2] > 0.1 * (shape.right - shape.left)
    if room and SECTION.match(group[0].text) and not style.bold(last, row):
        in_list = SECTION.match(group[0].text)
    if indent > 0.8 * height and not centered and not in_list:
        # the first line of a paragraph, unless this goes on with a hanging indent
        hanging = len(group) == 1 and last.box_px[2] > shape.right - 2 * height
        return not text[:1].islower() and not hanging
    short = last.box_px[2] < shape.right - 0.18 * (shape.right - shape.left)
    ended = last.text.rstrip().endswith((".", "!", "?", ":", "。", "！", "？", '"', "”"))
    if short and ended and not centered and not text[:1].islower():
        return True
    return bool(SECTION.match(text) and short and row.box_px[2] < shape.right - height)


def _paragraph(
    rows: Sequence[Row],
    titles: Sequence[Box],
    style: Style,
    footnote_top_px: float,
    head_signs: int,
) -> Paragraph:
    lines = [line for row in rows for line in row.lines]
    text = join_lines(lines, style.words)
    level = _heading_level(rows, text, titles, style, head_signs)
    if level:
        return Paragraph(
            "title" if level == 1 else "sub_title", tuple(rows), text, f"{'#' * level} {text}"
        )
    caption = CAPTION.match(text)
    if caption and len(rows) <= 8:
        kind = "table" if caption[1].lower()[:3] in ("tab", "表") else "image"
        return Paragraph(f"{kind}_caption", tuple(rows), text, text)
    small = rows[0].height_px <= SMALL_PRINT * style.body_px
    if small and len(text) > 15 and rows[0].box_px[1] > footnote_top_px and NOTE.match(text):
        return Paragraph("footnote", tuple(rows), text, _escape(text))
    bullet = BULLET.match(text)
    if bullet:
        return Paragraph("list", tuple(rows), text, f"- {text[bullet.end() :].strip()}")
    text = _with_breaks(rows, style)
    return Paragraph("text", tuple(rows), text, _escape(text).replace("\n", "  \n"))


def _with_breaks(rows: Sequence[Row], style: Style) -> str:
    """The text with a line break where a line ends though the next word had room on it: addresses,
    verse."""
    right = max(row.box_px[2] for row in rows)
    parts: list[list[TextLine]] = [list(rows[0].lines)]
    for last, row in pairwise(rows):
        word = row.text.split(maxsplit=1)[0]
        line = row.lines[0]
        word_px = line.width_px * (len(word) + 1) / max(1, len(line.text))
        room = right - last.box_px[2] > word_px + 0.5 * row.height_px
        if room and not row.text[:1].islower() and last.text[-1:] not in HYPHENS:
            parts.append(list(row.lines))
        else:
            parts[-1] += row.lines
    return "\n".join(join_lines(part, style.words) for part in parts)


def _heading_level(
    rows: Sequence[Row], text: str, titles: Sequence[Box], style: Style, head_signs: int
) -> int:
    """1 to 6, or 0 for no heading."""
    if len(rows) > 4 or len(text) > MAX_HEADING_CHARS or not any(c.isalpha() for c in text):
        return 0
    letters = sum(character.isalpha() for character in text)
    if BULLET.match(text) or "=" in text or letters < 0.5 * len(text):
        return 0
    size = min(style.size(row) for row in rows)
    section = SECTION.match(text)
    ends_open = text.rstrip().endswith((".", ",", ";", ":")) and not section
    seen = any(_inside(row.box_px, title) for row in rows for title in titles)
    if size >= 1.6:
        return 1 if size >= 2.0 or not section else _depth(section)
    if ends_open and size < 1.35:
        return 0
    if size >= 1.22:
        return _depth(section) if section else 2
    if len(rows) > 2:
        return 0
    if section and (seen or head_signs >= 2 or "." in section[1]) and len(text) < 90:
        return _depth(section)
    if KNOWN_HEADING.match(text.strip(" .:0123456789")):
        return 2
    if (seen or head_signs >= 3) and size > 0.85 and len(text) < 100 and not CAPTION.match(text):
        return _depth(section) if section else 3
    return 0


def _depth(section: re.Match[str] | None) -> int:
    return min(6, 2 + section[1].count(".")) if section else 2


def _inside(box: Box, title: Box) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    narrow = box[2] - box[0] < 1.6 * max(1, title[2] - title[0])
    return title[0] <= x <= title[2] and title[1] - 3 <= y <= title[3] + 3 and narrow


def _escape(text: str) -> str:
    """A line that would be a heading in Markdown, such as `# 12`, is text."""
    return "\\" + text if re.match(r"^#{1,6}\s", text) else tidy(text)
