"""Lines to blocks in reading order."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from deepocr.engines.ppocr.lines import TextLine
from deepocr.types import Box


@dataclass(frozen=True)
class Block:
    """Lines that belong together; `markdown` is `text` with its marks."""

    label: str
    lines: tuple[TextLine, ...]
    box_px: Box
    text: str
    markdown: str


def find_blocks(lines: Sequence[TextLine], _size_px: tuple[int, int]) -> list[Block]:
    """Blocks of a page in reading order."""
    if not lines:
        return []
    ordered = sorted(lines, key=lambda line: (line.box_px[1], line.box_px[0]))
    typical_px = median(line.height_px for line in ordered)
    groups: list[list[TextLine]] = []
    for line in ordered:
        if groups and _continues(groups[-1][-1], line):
            groups[-1].append(line)
        else:
            groups.append([line])
    return [_block(group, typical_px) for group in groups]


def _continues(last: TextLine, line: TextLine) -> bool:
    gap_px = line.box_px[1] - last.box_px[3]
    similar = 0.8 < line.height_px / max(1, last.height_px) < 1.25
    return similar and gap_px < 0.6 * last.height_px and line.box_px[0] < last.box_px[2]


def _block(lines: Sequence[TextLine], typical_px: float) -> Block:
    text = " ".join(line.text for line in lines)
    title = len(lines) <= 2 and lines[0].height_px > 1.4 * typical_px
    return Block(
        "title" if title else "text",
        tuple(lines),
        (
            min(line.box_px[0] for line in lines),
            min(line.box_px[1] for line in lines),
            max(line.box_px[2] for line in lines),
            max(line.box_px[3] for line in lines),
        ),
        text,
        f"# {text}" if title else text,
    )
