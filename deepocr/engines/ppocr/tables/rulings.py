"""Ruled lines of a page, and the grids that they make."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from deepocr.engines.ppocr.recognition.models import Picture
from deepocr.types import Box

TOUCH_PX = 6
"""Lines that come this close to each other meet."""


@dataclass(frozen=True)
class Ruling:
    """A straight line from `start` to `end` along one axis, at `at` on the other, in pixels."""

    at: int
    start: int
    end: int


@dataclass(frozen=True)
class Rulings:
    """All rulings of a page."""

    horizontal: tuple[Ruling, ...]
    vertical: tuple[Ruling, ...]

    def within(self, box: Box) -> "Rulings":
        """Those that do not reach out of a box."""
        left, top, right, bottom = (
            box[0] - TOUCH_PX,
            box[1] - TOUCH_PX,
            box[2] + TOUCH_PX,
            box[3] + TOUCH_PX,
        )
        return Rulings(
            tuple(
                r
                for r in self.horizontal
                if top <= r.at <= bottom and left <= r.start and r.end <= right
            ),
            tuple(
                r
                for r in self.vertical
                if left <= r.at <= right and top <= r.start and r.end <= bottom
            ),
        )


@dataclass(frozen=True)
class Grid:
    """Edges of columns and rows, and the rulings that belong to them."""

    xs: tuple[int, ...]
    ys: tuple[int, ...]
    rulings: Rulings

    @property
    def box_px(self) -> Box:
        return self.xs[0], self.ys[0], self.xs[-1], self.ys[-1]

    def grown(self, left: int, top: int) -> "Grid":
        """With a column to the left and a row above, if these lie outside; the rulings go on."""
        xs = (left, *self.xs) if left < self.xs[0] else self.xs
        ys = (top, *self.ys) if top < self.ys[0] else self.ys
        horizontal = tuple(
            replace(r, start=left) if r.start <= self.xs[0] + TOUCH_PX else r
            for r in self.rulings.horizontal
        )
        vertical = tuple(
            replace(r, start=top) if r.start <= self.ys[0] + TOUCH_PX else r
            for r in self.rulings.vertical
        )
        return Grid(xs, ys, Rulings(horizontal, vertical))


def find_rulings(picture: Picture, text: Sequence[Box], line_px: float) -> Rulings:
    """Straight lines longer than letters are high; `line_px` is the usual height of a line.

    What runs through the boxes of `text` is made of letters: stems above each other, underlines.
    """
    ink = _ink(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
    # found boxes are higher than the letters, and may touch the sides of their cell
    middles, boxes = _mask(text, ink.shape, 0.3), _mask(text, ink.shape, 0.1)
    free = ink * (1 - middles)
    horizontal = _runs(free, round(1.6 * line_px), max(12.0, 0.5 * line_px), line_px)
    # the sides of a cell may end above and below it
    vertical = _runs(ink.T, round(0.95 * line_px), max(6.0, 0.4 * line_px), line_px)
    return Rulings(
        tuple(horizontal),
        tuple(r for r in vertical if boxes[r.start : r.end, r.at].mean() < 0.3),
    )


def _mask(text: Sequence[Box], shape: tuple[int, ...], shrink: float) -> npt.NDArray[np.uint8]:
    """1 inside the boxes, each less `shrink` of its height above and below."""
    mask = np.zeros(shape, np.uint8)
    for x1, y1, x2, y2 in text:
        margin = round(shrink * (y2 - y1))
        mask[max(0, y1 + margin) : y2 - margin, max(0, x1 + 3) : x2 - 3] = 1
    return mask


def _ink(gray: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What is darker than around it; on dark fills, what is lighter; and the edges of fills."""
    dark = (gray < 130).astype(np.uint8)
    dark = cv2.morphologyEx(dark, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    dark = cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((17, 17), np.uint8))
    # against the surroundings, so that thin gray rules show too
    light = np.where(dark > 0, 255 - gray, gray).astype(np.uint8)
    ink = cv2.adaptiveThreshold(
        light, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, 15, 6
    )
    edge = dark - cv2.erode(dark, np.ones((3, 3), np.uint8))
    both: npt.NDArray[np.uint8] = np.maximum(ink, edge * 255)
    return both


def _runs(
    ink: npt.NDArray[np.uint8], kernel_px: int, most_px: float, line_px: float
) -> list[Ruling]:
    """Rulings along the rows of a picture; thick bars are no lines."""
    ink = np.ascontiguousarray(ink)
    kept = cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones((1, max(12, kernel_px)), np.uint8))
    # bridge the breaks that a scan leaves
    kept = cv2.morphologyEx(kept, cv2.MORPH_CLOSE, np.ones((3, 9), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(kept, connectivity=8)
    found = []
    for number, (x, y, width, height, _) in enumerate(stats[1:], start=1):
        if width < max(24, 1.6 * line_px):
            continue
        part = labels[y : y + height, x : x + width] == number
        # where letters touch a line, it is where most of the ink is
        strong = np.flatnonzero(part.mean(axis=1) > 0.5)
        middle, thick = height // 2, height
        if len(strong):
            middle, thick = int(strong.mean().round()), int(strong[-1] - strong[0]) + 1
        if thick <= most_px and width >= 4 * thick:
            found.append(Ruling(int(y) + middle, int(x), int(x + width)))
    return found


def find_grids(rulings: Rulings, line_px: float) -> list[Grid]:
    """Grids of at least two cells: rulings that meet, directly or through others."""
    lines = [(ruling, True) for ruling in rulings.horizontal]
    lines += [(ruling, False) for ruling in rulings.vertical]
    groups = _connected(lines)
    grids = []
    for group in groups:
        horizontal = tuple(ruling for ruling, level in group if level)
        vertical = tuple(ruling for ruling, level in group if not level)
        if not horizontal or not vertical:
            continue
        # a table that is open at the sides ends where its other lines end
        left = min(min(r.start for r in horizontal), min(r.at for r in vertical))
        right = max(max(r.end for r in horizontal), max(r.at for r in vertical))
        top = min(min(r.start for r in vertical), min(r.at for r in horizontal))
        bottom = max(max(r.end for r in vertical), max(r.at for r in horizontal))
        apart_px = max(8.0, 0.5 * line_px)
        xs = _merged([left, right, *(r.at for r in vertical)], apart_px)
        ys = _merged([top, bottom, *(r.at for r in horizontal)], apart_px)
        if len(xs) >= 2 and len(ys) >= 2 and len(xs) + len(ys) >= 5:
            # with the pieces of rules inside that touch no other
            box = left, top, right, bottom
            grids.append(Grid(tuple(xs), tuple(ys), rulings.within(box)))
    return grids


def _connected(lines: Sequence[tuple[Ruling, bool]]) -> list[list[tuple[Ruling, bool]]]:
    """Groups of (ruling, is it horizontal) that meet."""
    parent = list(range(len(lines)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    vertical = [i for i, (_, level) in enumerate(lines) if not level]
    for i, (h, level) in enumerate(lines):
        if not level:
            continue
        for j in vertical:
            v = lines[j][0]
            if (
                h.start - TOUCH_PX <= v.at <= h.end + TOUCH_PX
                and v.start - TOUCH_PX <= h.at <= v.end + TOUCH_PX
            ):
                parent[root(i)] = root(j)
    groups: dict[int, list[tuple[Ruling, bool]]] = {}
    for i, line in enumerate(lines):
        groups.setdefault(root(i), []).append(line)
    return [group for group in groups.values() if len(group) >= 3]


def _merged(values: Sequence[int], apart_px: float) -> list[int]:
    """Sorted, with those nearer than `apart_px` taken for one."""
    merged: list[list[int]] = []
    for value in sorted(values):
        if merged and value - merged[-1][-1] < apart_px:
            merged[-1].append(value)
        else:
            merged.append([value])
    return [round(sum(group) / len(group)) for group in merged]


def covers(rulings: Sequence[Ruling], at: int, start: int, end: int, slack_px: float) -> bool:
    """Does a ruling at `at` cover most of the way from `start` to `end`?"""
    covered = 0
    for ruling in rulings:
        if abs(ruling.at - at) <= slack_px:
            covered += max(0, min(ruling.end, end) - max(ruling.start, start))
    return covered >= 0.5 * (end - start)
