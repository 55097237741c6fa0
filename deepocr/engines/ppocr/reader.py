"""A page picture to regions and raw text, as the task asks."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deepocr.engines.ppocr.layout import Block, find_blocks
from deepocr.engines.ppocr.lines import LineReader, Picture, Stop, TextLine
from deepocr.engines.ppocr.locate import locate
from deepocr.types import Box, Job, Page, Region

RAW_SCALE = 999
"""Raw boxes are 0 to 999 over the page."""


@dataclass(frozen=True)
class Piece:
    """A region and the raw text that stands for it."""

    region: Region | None
    raw: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Reading:
    """A page as read: pieces in reading order, seconds by stage."""

    pieces: tuple[Piece, ...]
    seconds: Mapping[str, float]


def read_page(lines: LineReader, page: Page, job: Job, stop: Stop, alone: bool) -> Reading:
    """Blocking. Raises StoppedError when `stop` is set on the way."""
    started_s = time.perf_counter()
    picture: Picture = np.ascontiguousarray(np.asarray(page.image)[:, :, ::-1])
    crops, quads = lines.detect(picture, alone)
    detected_s = time.perf_counter()
    stop.check()
    found = lines.recognize(crops, quads, stop)
    recognized_s = time.perf_counter()
    blocks = find_blocks(found, page.size_px)
    pieces = WRITERS[job.task](blocks, page.size_px, job)
    ended_s = time.perf_counter()
    seconds = {
        "detect": detected_s - started_s,
        "recognize": recognized_s - detected_s,
        "layout": ended_s - recognized_s,
    }
    return Reading(tuple(pieces), seconds)


def _write_markdown(blocks: Sequence[Block], size_px: tuple[int, int], _job: Job) -> list[Piece]:
    return [
        _tagged(block.label, block.markdown, [block.box_px], block.lines, size_px)
        for block in blocks
    ]


def _write_free(blocks: Sequence[Block], size_px: tuple[int, int], _job: Job) -> list[Piece]:
    return [
        Piece(
            _region(block.label, block.text, [block.box_px], block.lines, size_px),
            f"{block.text}\n\n",
            tuple(line.confidence for line in block.lines),
        )
        for block in blocks
    ]


def _write_boxes(blocks: Sequence[Block], size_px: tuple[int, int], _job: Job) -> list[Piece]:
    return [
        _tagged("text", line.text, [line.box_px], [line], size_px)
        for block in blocks
        for line in block.lines
    ]


def _write_locate(blocks: Sequence[Block], size_px: tuple[int, int], job: Job) -> list[Piece]:
    lines = [line for block in blocks for line in block.lines]
    matches = locate(job.reference_text, lines)
    if not matches:
        return []
    boxes = [match.box_px for match in matches]
    region = Region(
        label=job.reference_text,
        text="",
        boxes_px=tuple(boxes),
        boxes_raw=tuple(_raw_box(box, size_px) for box in boxes),
        confidence=max(match.confidence for match in matches),
    )
    raw = f"{_tag(region)}\n"
    return [Piece(region, raw, tuple(match.confidence for match in matches))]


WRITERS: Mapping[str, Callable[[Sequence[Block], tuple[int, int], Job], list[Piece]]] = {
    "Convert to Markdown": _write_markdown,
    "Free OCR": _write_free,
    "OCR with Boxes": _write_boxes,
    "Locate Object by Reference": _write_locate,
}


def _tagged(
    label: str,
    text: str,
    boxes: Sequence[Box],
    lines: Sequence[TextLine],
    size_px: tuple[int, int],
) -> Piece:
    region = _region(label, text, boxes, lines, size_px)
    return Piece(region, f"{_tag(region)}\n{text}\n\n", tuple(line.confidence for line in lines))


def _region(
    label: str,
    text: str,
    boxes: Sequence[Box],
    lines: Sequence[TextLine],
    size_px: tuple[int, int],
) -> Region:
    scores = [line.confidence for line in lines]
    return Region(
        label=label,
        text=text,
        boxes_px=tuple(boxes),
        boxes_raw=tuple(_raw_box(box, size_px) for box in boxes),
        confidence=sum(scores) / len(scores) if scores else None,
        lines=tuple(line.as_line() for line in lines),
    )


def _tag(region: Region) -> str:
    boxes = ", ".join(str(list(box)) for box in region.boxes_raw)
    return f"<|ref|>{region.label}<|/ref|><|det|>[{boxes}]<|/det|>"


def _raw_box(box: Box, size_px: tuple[int, int]) -> Box:
    width, height = size_px
    x1, y1, x2, y2 = box
    return (
        round(x1 / width * RAW_SCALE),
        round(y1 / height * RAW_SCALE),
        round(x2 / width * RAW_SCALE),
        round(y2 / height * RAW_SCALE),
    )
