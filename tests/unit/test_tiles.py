"""Pictures to views: grids, slots, and pictures of odd shapes."""

from collections import defaultdict
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from deepocr.engines.deepseek.family import DEEPSEEK_OCR_2
from deepocr.engines.deepseek.tiles import (
    PAD_COLOR,
    choose_grid,
    count_slots,
    cut_tiles,
    grids,
    make_views,
    to_pixels,
)
from deepocr.tasks import PRESETS, find_preset

GUNDAM = PRESETS["Gundam (Recommended)"]


@pytest.mark.parametrize(
    ("preset", "slots"), [("tiny", 73), ("small", 111), ("base", 273), ("large", 421)]
)
def test_slots_of_one_view(preset: str, slots: int) -> None:
    views = make_views(Image.new("RGB", (300, 700)), find_preset(preset))
    assert views.num_slots == slots
    assert views.tiles == ()


@pytest.mark.parametrize("grid", grids(9))
def test_slots_of_tiles(grid: tuple[int, int]) -> None:
    columns, rows = grid
    assert count_slots(GUNDAM, grid) == 273 + (10 * columns + 1) * 10 * rows
    second = DEEPSEEK_OCR_2.presets["Gundam (Recommended)"]
    assert count_slots(second, grid) == 257 + 144 * columns * rows


@pytest.mark.parametrize("most", [6, 9, 32])
def test_the_order_of_grids_of_as_many_tiles_decides_nothing(most: int) -> None:
    """The official code meets them in the order of a set. At a tie between two shapes that stand
    next to each other it takes the later, so none of them may have as many tiles."""
    by_shape = defaultdict(set)
    for columns, rows in grids(most):
        by_shape[Fraction(columns, rows)].add(columns * rows)
    for shape, larger in pairwise(sorted(by_shape)):
        assert not by_shape[shape] & by_shape[larger]


@pytest.mark.parametrize(
    ("size_px", "grid"),
    [
        ((640, 640), (1, 1)),
        ((640, 100), (1, 1)),
        ((641, 640), (2, 2)),  # a square but for one pixel: many pixels take the later grid
        ((300, 700), (1, 2)),
        ((1000, 1414), (2, 3)),
        ((1414, 1000), (3, 2)),
        ((10_000, 100), (9, 1)),
        ((100, 10_000), (1, 9)),
        ((2000, 2000), (3, 3)),
    ],
)
def test_grid_nearest_in_shape(size_px: tuple[int, int], grid: tuple[int, int]) -> None:
    assert choose_grid(size_px, GUNDAM) == grid


@pytest.mark.parametrize(
    ("size_px", "grid"),
    [((768, 768), (1, 1)), ((769, 700), (2, 2)), ((700, 1000), (2, 3)), ((100, 9000), (1, 6))],
)
def test_grids_of_the_second_model(size_px: tuple[int, int], grid: tuple[int, int]) -> None:
    preset = DEEPSEEK_OCR_2.presets["Gundam (Recommended)"]
    views = make_views(Image.new("RGB", size_px), preset)
    assert views.grid == grid
    assert {tile.size for tile in views.tiles} <= {(768, 768)}
    assert views.overview.size == (1024, 1024)
    assert views.num_slots == 257 + 144 * len(views.tiles)


def test_at_a_tie_small_pictures_take_the_earlier_grid() -> None:
    # 1:1 fits (2, 2) and (3, 3) alike; half the pixels of nine tiles decide
    half = 0.5 * 640 * 640 * 9
    below, above = int(half**0.5), int(half**0.5) + 1
    assert choose_grid((below, below), GUNDAM) == (2, 2)
    assert choose_grid((above, above), GUNDAM) == (3, 3)


def test_no_tiles_for_other_presets() -> None:
    assert choose_grid((3000, 3000), PRESETS["Base"]) == (1, 1)


def test_tiles_run_row_by_row() -> None:
    image = Image.new("RGB", (3 * 640, 2 * 640))
    for index in range(6):
        x, y = index % 3 * 640, index // 3 * 640
        image.paste((index * 40, 0, 0), (x, y, x + 640, y + 640))
    tiles = cut_tiles(image, (3, 2), 640)
    assert [tile.getpixel((320, 320))[0] for tile in tiles] == [0, 40, 80, 120, 160, 200]
    assert {tile.size for tile in tiles} == {(640, 640)}


def test_stretch_and_pad() -> None:
    image = Image.new("RGB", (200, 100), (0, 255, 0))
    stretched = make_views(image, PRESETS["Tiny"]).overview
    assert stretched.getcolors() == [(512 * 512, (0, 255, 0))]
    padded = make_views(image, PRESETS["Base"]).overview
    assert padded.getpixel((512, 0)) == PAD_COLOR
    assert padded.getpixel((512, 512)) == (0, 255, 0)


@pytest.mark.parametrize("size_px", [(1, 1), (1, 5000), (5000, 1), (9000, 3)])
@pytest.mark.parametrize("preset", list(PRESETS))
def test_no_shape_is_too_odd(size_px: tuple[int, int], preset: str) -> None:
    views = make_views(Image.new("RGB", size_px), PRESETS[preset])
    side = PRESETS[preset].side_px
    assert views.overview.size == (side, side)
    columns, rows = views.grid
    assert len(views.tiles) == (0 if views.grid == (1, 1) else columns * rows)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_any_mode_becomes_rgb(mode: str) -> None:
    assert make_views(Image.new(mode, (50, 50)), PRESETS["Tiny"]).overview.mode == "RGB"


def test_pixels_are_channels_first_from_minus_one_to_one() -> None:
    image = Image.new("RGB", (2, 1))
    image.putdata([(0, 255, 51), (255, 0, 51)])
    pixels = to_pixels(image)
    assert pixels.shape == (3, 1, 2)
    assert pixels.dtype == np.float32
    assert pixels[0].tolist() == [[-1.0, 1.0]]
    assert pixels[1].tolist() == [[1.0, -1.0]]
    assert pixels[2, 0, 0] == pytest.approx(-0.6)
