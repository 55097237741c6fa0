"""Pictures to views: grids, slots, and pictures of odd shapes."""

import numpy as np
import pytest
from PIL import Image

from deepocr.engines.deepseek.tiles import (
    GRIDS,
    PAD_COLOR,
    choose_grid,
    count_slots,
    cut_tiles,
    make_views,
    to_pixels,
)
from deepocr.tasks import PRESETS, find_preset


@pytest.mark.parametrize(
    ("preset", "slots"), [("tiny", 73), ("small", 111), ("base", 273), ("large", 421)]
)
def test_slots_of_one_view(preset: str, slots: int) -> None:
    views = make_views(Image.new("RGB", (300, 700)), find_preset(preset))
    assert views.num_slots == slots
    assert views.tiles == ()


@pytest.mark.parametrize("grid", GRIDS)
def test_slots_of_tiles(grid: tuple[int, int]) -> None:
    columns, rows = grid
    assert count_slots(1024, grid) == 273 + (10 * columns + 1) * 10 * rows


def test_grids_are_all_of_two_to_nine_tiles() -> None:
    every = {(w, h) for w in range(1, 10) for h in range(1, 10) if 2 <= w * h <= 9}
    # the official table stops at (9, 1) and (1, 9) and leaves none out
    assert set(GRIDS) == every
    assert len(GRIDS) == len(every)


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
    assert choose_grid(size_px, 9) == grid


def test_at_a_tie_small_pictures_take_the_earlier_grid() -> None:
    # 1:1 fits (2, 2) and (3, 3) alike; half the pixels of nine tiles decide
    half = 0.5 * 640 * 640 * 9
    below, above = int(half**0.5), int(half**0.5) + 1
    assert choose_grid((below, below), 9) == (2, 2)
    assert choose_grid((above, above), 9) == (3, 3)


def test_no_tiles_for_other_presets() -> None:
    assert choose_grid((3000, 3000), PRESETS["Base"].max_tiles) == (1, 1)


def test_tiles_run_row_by_row() -> None:
    image = Image.new("RGB", (3 * 640, 2 * 640))
    for index in range(6):
        x, y = index % 3 * 640, index // 3 * 640
        image.paste((index * 40, 0, 0), (x, y, x + 640, y + 640))
    tiles = cut_tiles(image, (3, 2))
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
