"""A page picture to regions and raw text, as the task asks."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from deepocr.engines.ppocr.locate import locate
from deepocr.engines.ppocr.recognition.finding import SURE, Found, Frame, find_lines
from deepocr.engines.ppocr.recognition.initials import find_initials
from deepocr.engines.ppocr.recognition.lines import (
    MIN_SCORE,
    LineReader,
    Stop,
    TextLine,
    level_boxes,
    turn_over,
)
from deepocr.engines.ppocr.recognition.models import TALL, Picture, Points, Recognized
from deepocr.engines.ppocr.recognition.unread import find_unread, unread_note
from deepocr.engines.ppocr.structure.layout import Block, find_blocks
from deepocr.engines.ppocr.structure.layout_model import LayoutModel
from deepocr.engines.ppocr.textlayer import is_sound, layer_lines, sample_of, usable
from deepocr.parsing.grounding import box_to_raw, format_tag
from deepocr.types import Box, Job, Page, Region

"""Raw boxes are 0 to 999 over the page."""


@dataclass(frozen=True)
class Models:
    """What reading a page needs."""

    lines: LineReader
    layout: LayoutModel
    use_text_layer: bool = False


@dataclass(frozen=True)
class Piece:
    """A region and the raw text that stands for it."""

    region: Region | None
    raw: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class PageText:
    """A page as read: pieces in reading order, seconds by stage, how it was read."""

    pieces: tuple[Piece, ...]
    seconds: Mapping[str, float]
    notes: Mapping[str, str] = field(default_factory=dict)


def read_page(models: Models, page: Page, job: Job, stop: Stop, alone: bool) -> PageText:
    """Blocking. Raises StoppedError when `stop` is set on the way."""
    clock = _Clock()
    picture: Picture = np.ascontiguousarray(np.asarray(page.image)[:, :, ::-1])
    found = find_lines(models.lines, picture, stop, alone)
    clock.stage("detect")
    straight = found.frame.straighten_picture(found.picture)
    crew, layout = models.lines.crew, models.layout
    looking = crew.submit(stop.turn, layout.look, straight)
    notes: dict[str, str] = {}
    if models.use_text_layer and page.words:
        found, notes = _with_text_layer(models.lines, found, page, stop)
    lines = _recognize(models.lines, found, stop, notes)
    lines += _initials(models.lines, found.frame, straight, lines, stop)
    clock.stage("recognize")
    seen = looking.result()
    blocks = find_blocks(straight, lines, seen)
    pieces = WRITERS[job.task](blocks, _Sheet(found.frame), job)
    clock.stage("layout")
    return PageText(tuple(pieces), clock.seconds, notes)


def _with_text_layer(
    reader: LineReader, found: Found, page: Page, stop: Stop
) -> tuple[Found, dict[str, str]]:
    """The lines that the page's own text layer knows, if it is sound, and what was decided."""
    if found.frame.turns or found.frame.skew_deg or not len(found.points):
        return found, {"text_layer": "not used: the page lies askew"}
    lines, placed = layer_lines(level_boxes(found.points), page.words)
    sample = sample_of(lines)
    read = reader.recognize(reader.crop(found.picture, found.points[sample]), stop)
    texts = [lines[index].recognized.text for index in sample]
    if not is_sound(texts, [line.text for line in read], placed):
        return found, {"text_layer": "not used: it is not what the page shows"}
    known = {index: line.recognized for index, line in enumerate(lines) if usable(line)}
    note = f"used for {len(known)} of {len(lines)} lines"
    return replace(found, known={**found.known, **known}), {"text_layer": note}


def _recognize(
    reader: LineReader, found: Found, stop: Stop, notes: dict[str, str]
) -> list[TextLine]:
    """The lines of the page that are text, straightened."""
    if not len(found.points):
        return []
    unread = [index for index in range(len(found.points)) if index not in found.known]
    texts = dict(found.known)
    crops = reader.crop(found.picture, found.points[unread])
    texts.update(zip(unread, reader.recognize(crops, stop), strict=True))
    _read_upward(reader, found.points, dict(zip(unread, crops, strict=True)), texts, stop)
    salad = find_unread(found.points, texts)
    if salad:
        notes["script"] = unread_note(len(salad), len(texts))
    boxes = level_boxes(found.frame.straighten(found.points))
    lines = []
    for index, (box, points) in enumerate(zip(boxes, found.points, strict=True)):
        text = texts[index].stripped()
        if index not in salad and text.text and text.score >= MIN_SCORE:
            level = box[3] - box[1] < TALL * (box[2] - box[0])
            width = box[2] - box[0]
            lines.append(
                TextLine(
                    text=text.text,
                    box_px=box,
                    quad_px=found.frame.quad_on_page(points),
                    confidence=text.score,
                    char_x_px=tuple(box[0] + x * width for x in text.char_x) if level else (),
                )
            )
    return lines


def _initials(
    reader: LineReader, frame: Frame, straight: Picture, lines: Sequence[TextLine], stop: Stop
) -> list[TextLine]:
    """Large first letters that were not found as lines."""
    boxes = find_initials(straight, lines)
    crops = [
        straight[max(0, top) : bottom, max(0, left) : right] for left, top, right, bottom in boxes
    ]
    return [
        TextLine(text.text, box, frame.corners_on_page(box), text.score, (sum(box[::2]) / 2,))
        for box, text in zip(boxes, reader.recognize(crops, stop), strict=True)
        if len(text.text) == 1 and text.text.isalnum() and text.score >= MIN_SCORE
    ]


def _read_upward(
    reader: LineReader,
    points: Points,
    crops: Mapping[int, Picture],
    texts: dict[int, Recognized],
    stop: Stop,
) -> None:
    """Lines that do not read downward are read upward: labels of axes, stamps in the margin."""
    sides = np.linalg.norm(points[:, [1, 3]] - points[:, [0]], axis=2)
    doubtful = [
        index
        for index in crops
        if sides[index, 1] >= TALL * sides[index, 0] and texts[index].score < SURE
    ]
    again = reader.recognize([turn_over(crops[index]) for index in doubtful], stop)
    for index, text in zip(doubtful, again, strict=True):
        if text.score > texts[index].score:
            texts[index] = text


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last_s = time.perf_counter()

    def stage(self, name: str) -> None:
        """What passed since the last stage was this one."""
        now_s = time.perf_counter()
        self.seconds[name] = now_s - self._last_s
        self._last_s = now_s


@dataclass(frozen=True)
class _Sheet:
    """The page as it came: boxes are told in its pixels."""

    frame: Frame

    def region(
        self,
        label: str,
        text: str,
        boxes: Sequence[Box],
        lines: Sequence[TextLine],
        confidence: float | None = None,
    ) -> Region:
        """A region of straight boxes."""
        scores = [line.confidence for line in lines]
        if confidence is None and scores:
            confidence = sum(scores) / len(scores)
        on_page = tuple(self.frame.box_on_page(box) for box in boxes)
        return Region(
            label=label,
            text=text,
            boxes_px=on_page,
            boxes_raw=tuple(box_to_raw(box, self.frame.page_size_px) for box in on_page),
            confidence=confidence,
            lines=tuple(line.as_line() for line in lines),
        )


def _write_markdown(blocks: Sequence[Block], sheet: _Sheet, _job: Job) -> list[Piece]:
    return [
        _tagged(sheet.region(block.label, block.markdown, [block.box_px], block.lines))
        for block in blocks
    ]


def _write_free(blocks: Sequence[Block], sheet: _Sheet, _job: Job) -> list[Piece]:
    return [
        Piece(
            # everything that was read, the furniture too
            sheet.region("text", block.text, [block.box_px], block.lines),
            f"{block.text}\n\n" if block.text else "",
            tuple(line.confidence for line in block.lines),
        )
        for block in blocks
        if block.lines
    ]


def _write_boxes(blocks: Sequence[Block], sheet: _Sheet, _job: Job) -> list[Piece]:
    return [
        _tagged(sheet.region("text", line.text, [line.box_px], [line]))
        for block in blocks
        for line in block.lines
    ]


def _write_locate(blocks: Sequence[Block], sheet: _Sheet, job: Job) -> list[Piece]:
    lines = [line for block in blocks for line in block.lines]
    matches = locate(job.reference_text, lines)
    if not matches:
        return []
    best = max(match.confidence for match in matches)
    boxes = [match.box_px for match in matches]
    region = sheet.region(job.reference_text, "", boxes, (), best)
    return [
        Piece(
            region,
            f"{format_tag(region.label, region.boxes_raw)}\n",
            tuple(match.confidence for match in matches),
        )
    ]


WRITERS: Mapping[str, Callable[[Sequence[Block], _Sheet, Job], list[Piece]]] = {
    "Convert to Markdown": _write_markdown,
    "Free OCR": _write_free,
    "OCR with Boxes": _write_boxes,
    "Locate Object by Reference": _write_locate,
}


def _tagged(region: Region) -> Piece:
    probabilities = tuple(line.confidence for line in region.lines)
    return Piece(
        region, f"{format_tag(region.label, region.boxes_raw)}\n{region.text}\n\n", probabilities
    )
