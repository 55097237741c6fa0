"""A page picture to square views: presets, padding, tile grids, and how many slots they fill.

Byte for byte what the official preprocessing makes (Pillow, bicubic). No torch here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from deepocr.tasks import TILE_SIDE_PX, Preset

FEATURE_PX = 64
"""Side of the picture square behind one feature: patches of 16, halved twice."""

PAD_COLOR = (127, 127, 127)

# in the order in which the official code meets them, which decides ties
GRIDS: tuple[tuple[int, int], ...] = (
    *((1, 2), (2, 1), (3, 1), (1, 3), (2, 2), (4, 1), (1, 4), (5, 1), (1, 5), (1, 6), (6, 1)),
    *((3, 2), (2, 3), (7, 1), (1, 7), (4, 2), (2, 4), (1, 8), (8, 1), (1, 9), (3, 3), (9, 1)),
)


@dataclass(frozen=True, eq=False)
class Views:
    """What the encoder sees of a page. `grid` is (columns, rows); (1, 1) means no tiles.

    `tiles` run row by row; each is TILE_SIDE_PX square.
    """

    overview: Image.Image
    tiles: tuple[Image.Image, ...]
    grid: tuple[int, int]

    @property
    def num_slots(self) -> int:
        return count_slots(self.overview.width, self.grid)


def count_slots(side_px: int, grid: tuple[int, int]) -> int:
    """Image slots in the prompt for a global view of `side_px` and a grid of tiles.

    One slot a feature, one at the end of each row of features, one after the global view.
    """
    across = side_px // FEATURE_PX
    slots = (across + 1) * across + 1
    if grid != (1, 1):
        per_tile = TILE_SIDE_PX // FEATURE_PX
        columns, rows = grid
        slots += (per_tile * columns + 1) * (per_tile * rows)
    return slots


def choose_grid(size_px: tuple[int, int], max_tiles: int) -> tuple[int, int]:
    """(columns, rows) whose shape is nearest the picture's, of 2 to `max_tiles` tiles.

    (1, 1) for a picture that fits into one tile, or when tiles are not wanted.
    """
    width, height = size_px
    if max_tiles < 2 or (width <= TILE_SIDE_PX and height <= TILE_SIDE_PX):
        return (1, 1)
    best, best_difference = (1, 1), float("inf")
    for columns, rows in GRIDS:
        if columns * rows > max_tiles:
            continue
        difference = abs(width / height - columns / rows)
        # at a tie a picture of many pixels takes the grid met later
        large = width * height > 0.5 * TILE_SIDE_PX**2 * columns * rows
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
    grid = choose_grid(image.size, preset.max_tiles)
    tiles = () if grid == (1, 1) else cut_tiles(image, grid)
    return Views(overview, tiles, grid)


def _thickened(image: Image.Image, side_px: int) -> Image.Image:
    """A strip so thin that it would vanish when fitted into the square becomes one pixel thick
    there; any other picture stays as it is."""
    width, height = image.size
    if round(min(width, height) / max(width, height) * side_px) >= 1:
        return image
    return image.resize((side_px, 1) if width > height else (1, side_px))


def cut_tiles(image: Image.Image, grid: tuple[int, int]) -> tuple[Image.Image, ...]:
    """The picture stretched over the grid and cut row by row."""
    columns, rows = grid
    side = TILE_SIDE_PX
    whole = image.resize((columns * side, rows * side), Image.Resampling.BICUBIC)
    corners = ((column * side, row * side) for row in range(rows) for column in range(columns))
    return tuple(whole.crop((x, y, x + side, y + side)) for x, y in corners)


def to_pixels(image: Image.Image) -> NDArray[np.float32]:
    """RGB picture -> (3, H, W) float32 in -1 to 1, (x / 255 - 0.5) / 0.5.

    The caller rounds to bf16, as the official code does whatever the network's own type.
    """
    values = np.asarray(image, dtype=np.float32).transpose(2, 0, 1)
    return np.ascontiguousarray((values / np.float32(255) - np.float32(0.5)) / np.float32(0.5))
