"""Where the lines are: the scale to look at, long pages in tiles, which way is up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deepocr.engines.ppocr.recognition.lines import LineReader, Stop, turn_over
from deepocr.engines.ppocr.recognition.models import (
    STEP_PX,
    TALL,
    Picture,
    Points,
    Recognized,
)
from deepocr.types import Box, Quad

FIRST_SIDE_PX, FIRST_ENLARGED = 1664, 1.5
"""The longer side of the picture that is looked at first, whatever the page's own resolution, for
the detector's boxes depend on the scale; the page is not enlarged more than so many times."""

TILE_PX = 1920
"""Height of the tiles a longer picture is looked at in."""

OVERLAP_PX = 96
"""More than a line is high, so that each line is whole in one of two tiles."""

SMALL_PX, GOOD_PX = 13.0, 22.0
"""Lines smaller than SMALL_PX are looked at again at a scale that makes them GOOD_PX high."""

MARGIN_PX = 24
"""Added around a picture that is hardly higher than its line, which is not found without."""

MIN_SIDE_PX = 96

MAX_ENLARGED = 2.0
MAX_FOUND_PIXELS = 24_000_000

LAYOUT_PX = 24.0
"""Height of most lines on the page that the layout is worked out on, whatever the page's own
resolution: what counts pixels there counts parts of a line."""

MIN_SKEW_DEG, MAX_SKEW_DEG = 0.15, 8.0


@dataclass(frozen=True)
class Found:
    """Lines of an upright picture: corners there, and the way back to the page as it came.

    `known` are lines that were read to tell which way is up, by their index in `points`.
    """

    picture: Picture
    points: Points
    frame: "Frame"
    known: Mapping[int, Recognized]


@dataclass(frozen=True)
class Frame:
    """From the page as it came to the straight page that the layout is worked out on.

    First `turns` quarter turns counterclockwise, then `skew_deg` about the center, and `scale`
    times as large.
    """

    page_size_px: tuple[int, int]
    turns: int = 0
    skew_deg: float = 0.0
    scale: float = 1.0

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height in the end."""
        width, height = (max(1, round(side * self.scale)) for side in self.page_size_px)
        return (height, width) if self.turns % 2 else (width, height)

    def straighten(self, points: Points) -> Points:
        """Turned corners to straight ones."""
        return _apply(self._rotation(self.scale), points)

    def straighten_picture(self, picture: Picture) -> Picture:
        """The turned picture without its skew, in the layout's scale."""
        straight: Picture = _resized(picture, self.size_px)
        if self.skew_deg:
            straight = cv2.warpAffine(
                straight, self._rotation(1.0), self.size_px, borderMode=cv2.BORDER_REPLICATE
            )
        return straight

    def quad_on_page(self, points: Points) -> Quad:
        """One line's turned corners (4, 2) on the page as it came."""
        width, height = self.page_size_px
        corners = [(float(x), float(y)) for x, y in points]
        for turn in reversed(range(self.turns)):
            # a counterclockwise turn put (x, y) of a picture this wide at (y, width - x)
            width_before = height if turn % 2 else width
            corners = [(width_before - y, x) for x, y in corners]
        a, b, c, d = ((round(x), round(y)) for x, y in corners)
        return a, b, c, d

    def corners_on_page(self, box: Box) -> Quad:
        """On the page as it came, of a straight box."""
        x1, y1, x2, y2 = box
        corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)
        turned = _apply(cv2.invertAffineTransform(self._rotation(self.scale)), corners)
        return self.quad_on_page(turned)

    def box_on_page(self, box: Box) -> Box:
        """Bounds on the page as it came of a straight box."""
        quad = self.corners_on_page(box)
        width, height = self.page_size_px
        xs = [min(max(x, 0), width) for x, _ in quad]
        ys = [min(max(y, 0), height) for _, y in quad]
        return min(xs), min(ys), max(xs), max(ys)

    def _rotation(self, scale: float) -> npt.NDArray[np.float64]:
        """About the center of the straight page, of points `scale` times too small for it."""
        width, height = self.size_px
        matrix: npt.NDArray[np.float64] = cv2.getRotationMatrix2D(
            (width / 2, height / 2), self.skew_deg, 1.0
        )
        matrix[:, :2] *= scale
        return matrix


def find_lines(reader: LineReader, picture: Picture, stop: Stop, alone: bool) -> Found:
    """Lines of a page that may lie on its side or stand on its head. Raises StoppedError."""
    height, width = picture.shape[:2]
    points = _find(reader, picture, stop, alone)
    turns, known = _quarter_turns(reader, picture, points, stop)
    if turns:
        picture = np.ascontiguousarray(np.rot90(picture, turns))
        points = _find(reader, picture, stop, alone)
        known = {}
    frame = Frame((width, height), turns, _skew(points), _layout_scale(points, height * width))
    return Found(picture, points, frame, known)


def _layout_scale(points: Points, num_pixels: int) -> float:
    """What makes most lines LAYOUT_PX high, a longer line counting more."""
    if not len(points):
        return 1.0
    sides = _sides(points)
    low, high = np.sort(sides[:, :2], axis=1).T
    order = np.argsort(low)
    weight = np.cumsum(high[order])
    line_px = float(low[order][np.searchsorted(weight, weight[-1] / 2)])
    return float(min(MAX_ENLARGED, (MAX_FOUND_PIXELS / num_pixels) ** 0.5, LAYOUT_PX / line_px))


def _find(reader: LineReader, picture: Picture, stop: Stop, alone: bool) -> Points:
    """Corners of all lines, looked at in the scale that suits the height of the letters."""
    height, width = picture.shape[:2]
    long_side = max(height, width)
    # a long strip is cut into tiles rather than made narrow
    scale = min(FIRST_ENLARGED, FIRST_SIDE_PX / min(long_side, 2 * min(height, width)))
    points = _find_at(reader, picture, scale, stop, alone)
    if len(points) < 3:
        return points
    line_px = float(np.median(_short_sides(points))) * scale
    if line_px >= SMALL_PX:
        return points
    most = min(MAX_ENLARGED, (MAX_FOUND_PIXELS / (height * width)) ** 0.5)
    better = min(most, scale * GOOD_PX / line_px)
    if better < 1.15 * scale:
        return points
    stop.check()
    return _find_at(reader, picture, better, stop, alone)


def _find_at(reader: LineReader, picture: Picture, scale: float, stop: Stop, alone: bool) -> Points:
    """Corners in the picture's own pixels, found in a picture `scale` times as large."""
    height, width = picture.shape[:2]
    wanted = (_stepped(width * scale), _stepped(height * scale))
    picture = _resized(picture, wanted)
    margin = MARGIN_PX if min(wanted) < MIN_SIDE_PX else 0
    if margin:
        picture = cv2.copyMakeBorder(picture, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
        found_here = reader.detect(picture, stop, alone) - np.float32(margin)
        return found_here.clip(0, None) * _factors((width, height), wanted)
    found: list[Points] = []
    for top, first, end in _tiles(wanted[1]):
        stop.check()
        bottom = min(wanted[1], top + TILE_PX)
        points = reader.detect(np.ascontiguousarray(picture[top:bottom]), stop, alone)
        points = points + np.array([0, top], np.float32)
        centers = points[:, :, 1].mean(axis=1)
        found.append(points[(centers >= first) & (centers < end)])
    return np.concatenate(found) * _factors((width, height), wanted)


def _stepped(side_px: float) -> int:
    """The nearest side that the detector takes as it is."""
    return max(STEP_PX, round(side_px / STEP_PX) * STEP_PX)


def _resized(picture: Picture, size: tuple[int, int]) -> Picture:
    height, width = picture.shape[:2]
    if size == (width, height):
        return picture
    way = cv2.INTER_AREA if size[0] < width else cv2.INTER_CUBIC
    resized: Picture = cv2.resize(picture, size, interpolation=way)
    return resized


def _factors(size: tuple[int, int], shown: tuple[int, int]) -> npt.NDArray[np.float32]:
    """From the picture as it was shown to the picture's own pixels."""
    return np.array([size[0] / shown[0], size[1] / shown[1]], np.float32)


def _tiles(height: int) -> list[tuple[int, float, float]]:
    """Top of each tile, and from where to where the lines are its own."""
    if height <= TILE_PX * 1.15:
        return [(0, 0.0, float("inf"))]
    step = TILE_PX - OVERLAP_PX
    tops = list(range(0, max(1, height - OVERLAP_PX), step))
    tiles = []
    for index, top in enumerate(tops):
        first = 0.0 if index == 0 else top + OVERLAP_PX / 2
        last = index == len(tops) - 1
        tiles.append((top, first, float("inf") if last else top + step + OVERLAP_PX / 2))
    return tiles


def _quarter_turns(
    reader: LineReader, picture: Picture, points: Points, stop: Stop
) -> tuple[int, dict[int, Recognized]]:
    """Counterclockwise quarter turns that make the page upright, judged by its longest lines.

    Also what those lines say, where they are upright already.
    """
    if len(points) < 3:
        return 0, {}
    across, down = _sides(points)[:, :2].T
    tall = down > TALL * across
    on_side = down[tall].sum() > 0.6 * np.maximum(across, down).sum()
    candidates = np.flatnonzero(tall if on_side else ~tall)
    longest = candidates[np.argsort(-np.maximum(across, down)[candidates])][:NUM_JUDGED]
    crops = reader.crop(picture, points[longest])
    texts = reader.recognize(crops, stop)
    upright = _mean_score(texts)
    known = {int(index): text for index, text in zip(longest, texts, strict=True)}
    if upright > SURE:
        return (1, {}) if on_side else (0, known)
    reverse = _mean_score(reader.recognize([turn_over(crop) for crop in crops], stop))
    if on_side:
        # neither way reads: columns of Chinese, which are upright as they are
        readable = max(upright, reverse) > READABLE
        return (0 if not readable else 1 if upright >= reverse else 3), {}
    return (2, {}) if reverse > upright + 0.1 else (0, known)


NUM_JUDGED = 4

SURE = 0.9
"""Mean score of lines that lie the right way."""

READABLE = 0.7


def _mean_score(texts: Sequence[Recognized]) -> float:
    return sum(text.score for text in texts) / max(1, len(texts))


def _skew(points: Points) -> float:
    """Degrees the text leans clockwise, from its longer lines; small angles count as none."""
    if len(points) < 5:
        return 0.0
    across = points[:, 1] - points[:, 0] + points[:, 2] - points[:, 3]
    widths = np.linalg.norm(across, axis=1) / 2
    long = widths > 8 * _short_sides(points)
    if long.sum() < 5:
        return 0.0
    angles = np.degrees(np.arctan2(across[long, 1], across[long, 0]))
    skew = float(np.median(angles))
    return skew if MIN_SKEW_DEG < abs(skew) < MAX_SKEW_DEG else 0.0


def _short_sides(points: Points) -> npt.NDArray[np.float32]:
    shortest: npt.NDArray[np.float32] = _sides(points)[:, :2].min(axis=1)
    return shortest


def _sides(points: Points) -> npt.NDArray[np.float32]:
    """Lengths of the top, the right, the bottom and the left side."""
    sides: npt.NDArray[np.float32] = np.linalg.norm(np.roll(points, -1, axis=1) - points, axis=2)
    return sides


def _apply(matrix: npt.NDArray[np.float64], points: Points) -> Points:
    moved: Points = (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return moved
