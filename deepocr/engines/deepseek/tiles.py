"""A page picture to square views: presets, padding, tile grids, and how many slots they fill.

Byte for byte what the official preprocessing makes (Pillow, bicubic). No torch here.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from deepocr.tasks import Preset

FEATURE_PX = 64
"""Side of the picture square behind one feature: patches of 16, halved twice."""

PAD_COLOR = (127, 127, 127)


@dataclass(frozen=True, eq=False)
class Views:
    """What the encoder sees of a page. `grid` is (columns, rows); (1, 1) means no tiles.

    `tiles` run row by row.
    """

    overview: Image.Image
    tiles: tuple[Image.Image, ...]
    grid: tuple[int, int]
    num_slots: int


def count_slots(preset: Preset, grid: tuple[int, int]) -> int:
    """Image slots in the prompt for a global view and a grid of tiles.

    One slot a feature, one at the end of each row of features where the model has newlines, one
    after the global view.
    """
    line_end = int(preset.newlines)
    across = preset.side_px // FEATURE_PX
    slots = (across + line_end) * across + 1
    if grid != (1, 1):
        per_tile = preset.tile_side_px // FEATURE_PX
        columns, rows = grid
        slots += (per_tile * columns + line_end) * (per_tile * rows)
    return slots


@cache
def grids(max_tiles: int) -> tuple[tuple[int, int], ...]:
    """Every (columns, rows) of 2 to `max_tiles` tiles, few tiles first. Grids of as many tiles are
    never equally near to a picture, so their order decides nothing."""
    sides = range(1, max_tiles + 1)
    every = ((w, h) for w in sides for h in sides if 2 <= w * h <= max_tiles)
    return tuple(sorted(every, key=lambda grid: grid[0] * grid[1]))


def choose_grid(size_px: tuple[int, int], preset: Preset) -> tuple[int, int]:
    """(columns, rows) whose shape is nearest the picture's, of 2 to `max_tiles` tiles.

    (1, 1) for a picture that fits into one tile, or when tiles are not wanted.
    """
    width, height = size_px
    side = preset.tile_side_px
    if max(width, height) <= side:
        return (1, 1)
    best, best_difference = (1, 1), float("inf")
    for columns, rows in grids(preset.max_tiles):
        difference = abs(width / height - columns / rows)
        # at a tie a picture of many pixels takes the grid met later
        large = width * height > 0.5 * side**2 * columns * rows
        if difference < best_difference or (difference == best_difference and large):
            best, best_difference = (columns, rows), difference
    return best


def make_views(image: Image.Image, preset: Preset) -> Views:
    """The global view and the tiles of an upright picture.

    A tile is a stretched crop of the picture itself, not of the global view.
    """
    image = image.convert("RGB")
    side = (preset.side_px, preset.side_px)
    if preset.fit == "stretch":
        overview = image.resize(side, Image.Resampling.BICUBIC)
    else:
        overview = ImageOps.pad(
            _thickened(image, preset.side_px), side, Image.Resampling.BICUBIC, color=PAD_COLOR
        )
    grid = choose_grid(image.size, preset)
    tiles = () if grid == (1, 1) else cut_tiles(image, grid, preset.tile_side_px)
    return Views(overview, tiles, grid, count_slots(preset, grid))


def _thickened(image: Image.Image, side_px: int) -> Image.Image:
    """A strip so thin that it would vanish when fitted into the square becomes one pixel thick
    there; any other picture stays as it is."""
    width, height = image.size
    if round(min(width, height) / max(width, height) * side_px) >= 1:
        return image
    return image.resize((side_px, 1) if width > height else (1, side_px))


def cut_tiles(image: Image.Image, grid: tuple[int, int], side: int) -> tuple[Image.Image, ...]:
    """The picture stretched over a grid of squares of `side` pixels and cut row by row."""
    columns, rows = grid
    whole = image.resize((columns * side, rows * side), Image.Resampling.BICUBIC)
    corners = ((column * side, row * side) for row in range(rows) for column in range(columns))
    return tuple(whole.crop((x, y, x + side, y + side)) for x, y in corners)


def to_pixels(image: Image.Image) -> NDArray[np.float32]:
    """RGB picture -> (3, H, W) float32 in -1 to 1, (x / 255 - 0.5) / 0.5.

    The caller rounds to bf16, as the official code does whatever the network's own type.
    """
    values = np.asarray(image, dtype=np.float32).transpose(2, 0, 1)
    return np.ascontiguousarray((values / np.float32(255) - np.float32(0.5)) / np.float32(0.5))
