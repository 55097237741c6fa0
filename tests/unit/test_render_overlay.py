from PIL import Image

from deepocr.render.overlay import COLORS, OTHER_COLOR, draw_overlay
from deepocr.types import Line, Region


def region(label: str, *boxes: tuple[int, int, int, int], lines: tuple[Line, ...] = ()) -> Region:
    return Region(label, "", boxes_px=boxes, lines=lines)


def page() -> Image.Image:
    return Image.new("RGB", (400, 300), "white")


def test_every_box_has_its_color_and_the_page_is_left_alone() -> None:
    original = page()
    drawn = draw_overlay(
        original,
        [
            region("title", (50, 50, 150, 90)),
            region("something new", (50, 150, 150, 190), (200, 150, 300, 190)),
        ],
    )
    assert drawn.size == original.size
    assert drawn.mode == "RGB"
    assert original.getcolors() == [(400 * 300, (255, 255, 255))]
    assert drawn.getpixel((150, 80)) == COLORS["title"]
    assert drawn.getpixel((150, 180)) == OTHER_COLOR
    assert drawn.getpixel((300, 180)) == OTHER_COLOR
    assert drawn.getpixel((350, 280)) == (255, 255, 255)
    # inside the text stays readable under a light tint
    inside = drawn.getpixel((130, 80))
    assert isinstance(inside, tuple)
    assert inside != (255, 255, 255)
    assert min(inside) > 200


def test_lines_are_drawn() -> None:
    line = Line("x", ((60, 60), (140, 64), (140, 80), (60, 76)), 0.9)
    plain = draw_overlay(page(), [region("text", (50, 50, 150, 90))])
    lined = draw_overlay(page(), [region("text", (50, 50, 150, 90), lines=(line,))])
    assert plain.getpixel((60, 70)) != lined.getpixel((60, 70))


def test_odd_regions_draw_without_error() -> None:
    drawn = draw_overlay(
        page(),
        [
            Region("text", "no box"),
            region("title", (-100, -100, 5000, 5000)),
            region("title", (400, 300, 400, 300)),
            region("the cat 世界 " * 30, (10, 10, 10, 10)),
        ],
    )
    assert drawn.size == (400, 300)
    assert draw_overlay(Image.new("RGB", (8, 8)), [region("text", (0, 0, 8, 8))]).size == (8, 8)


def test_nothing_to_draw_gives_a_copy() -> None:
    original = page()
    drawn = draw_overlay(original, [])
    assert drawn is not original
    assert drawn.tobytes() == original.tobytes()


def test_labels_stand_where_nothing_is_written() -> None:
    sheet = Image.new("RGB", (800, 400), "white")
    words = [(x, y, x + 8, y + 12) for y in range(40, 360, 20) for x in range(206, 590, 12)]
    for word in words:
        sheet.paste((0, 0, 0), word)
    lines = [region("sub_title", (200, y, 600, y + 12)) for y in range(40, 360, 20)]
    drawn = draw_overlay(sheet, lines)
    inside = [(x, y) for left, top, *_ in words for x in (left + 4,) for y in (top + 6,)]
    assert all(max(drawn.getpixel(at)) < 60 for at in inside)  # type: ignore[arg-type]
    # and none covers another one: each has its number at the left or at the right
    colored = [y for y in range(400) for x in (196, 603) if drawn.getpixel((x, y)) != (255,) * 3]
    assert len(colored) >= 16 * 10


def test_a_thousand_boxes_of_the_whole_page_and_half_characters() -> None:
    sheet = Image.new("RGB", (1000, 1400), "white")
    draw_overlay(sheet, [region("x\ud800\x00", (0, 0, 1000, 1400))] * 1000)
