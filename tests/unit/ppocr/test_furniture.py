"""What belongs to the sheet and not to the text, on lines placed by hand."""

from deepocr.engines.ppocr.recognition.lines import TextLine
from deepocr.engines.ppocr.structure.layout import find_blocks
from deepocr.engines.ppocr.structure.layout_model import Seen
from tests.unit.ppocr.pages import line, white

BODY = "row {} of a text that is as long as the line it stands in, from the left to the right"


def body(rows: int = 24, top: int = 200) -> list[TextLine]:
    return [line(100, top + 30 * n, BODY.format(n), width=780) for n in range(rows)]


def labels_of(lines: list[TextLine], seen: list[Seen] | None = None) -> dict[str, str]:
    blocks = find_blocks(white(), lines, seen or [])
    return {one.text: block.label for block in blocks for one in block.lines}


def test_a_slide_keeps_its_title_though_the_model_sees_a_header() -> None:
    lines = [
        line(100, 60, "Lorem ipsum", height=26),
        line(100, 95, "A few words below it"),
        line(100, 300, "The first of three points"),
        line(100, 360, "and the second of them"),
        line(100, 420, "and the third of them all"),
    ]
    labels = labels_of(lines, [Seen("header", 0.93, (90, 50, 600, 120))])
    assert labels["Lorem ipsum"] not in ("header", "aside")
    assert labels["A few words below it"] not in ("header", "aside")


def test_what_is_ruled_off_below_a_masthead_takes_it_not_along() -> None:
    picture = white()
    picture[139:141, 90:890] = 0
    lines = [line(300, 20, "Advertiser", height=80), line(400, 112, "Friday, May 31, 1901")]
    blocks = find_blocks(picture, [*lines, *body()], [])
    assert "Advertiser" in [block.text for block in blocks if block.label == "title"]


def test_short_pieces_at_both_edges_are_a_running_foot() -> None:
    foot = [line(100, 1318, "Preprint, submitted", height=18)]
    foot.append(line(780, 1318, "June 8, 2018", width=100, height=18))
    lines = [*body(37), *foot]
    labels = labels_of(lines)
    assert labels["Preprint, submitted"] == labels["June 8, 2018"] == "footer"
    assert labels[BODY.format(36)] == "text"


def test_small_print_whose_boxes_differ_by_pixels_is_no_title() -> None:
    head = [
        line(100, 48, "Form CR-1187 (04/19)", height=18),
        line(730, 48, "Northfield", height=17),
    ]
    text = [line(100, 84 + 19 * n, BODY.format(n), width=710, height=16) for n in range(30)]
    labels = labels_of([*head, *text])
    assert labels["Form CR-1187 (04/19)"] == labels["Northfield"] == "header"


def test_a_cover_has_a_running_foot_too() -> None:
    lines = [line(100, 700, "A report on harbors", height=40), line(100, 760, "Of the year 2026")]
    lines += [line(100, 1300, "Department of Harbors"), line(750, 1300, "Homepage")]
    labels = labels_of(
        [*lines, line(100, 800, "with tables and figures in it, and more", width=730)]
    )
    assert labels["Department of Harbors"] == labels["Homepage"] == "footer"
    assert labels["Of the year 2026"] == "text"


def test_the_last_lines_of_two_columns_are_no_running_foot() -> None:
    left = [line(100, 200 + 30 * n, f"left {n}", width=370) for n in range(37)]
    right = [line(510, 200 + 30 * n, f"right {n}", width=370) for n in range(37)]
    last = [line(100, 1320, "end of it", width=80), line(510, 1320, "goes on here", width=370)]
    labels = labels_of([*left, *right, *last])
    assert labels["end of it"] == "text"
    assert labels["goes on here"] == "text"


def test_numbers_of_lines_are_kept_out_of_the_text() -> None:
    numbers = [line(40, 203 + 30 * n, str(n + 38), width=18, height=14) for n in range(24)]
    labels = labels_of([*body(), *numbers])
    assert {labels[str(n + 38)] for n in range(24)} == {"aside"}
    assert labels[BODY.format(0)] == "text"


def test_numbers_of_a_list_stay_in_the_text() -> None:
    numbers = [line(40, 200 + 30 * n, f"{n + 1}", width=18) for n in range(24)]
    labels = labels_of([*body(), *numbers])
    assert "aside" not in labels.values()


def test_the_number_of_a_chapter_on_a_tab_is_none_of_the_text() -> None:
    labels = labels_of([*body(), line(940, 600, "111", height=30)])
    assert labels["111"] == "aside"


def test_the_headings_of_a_table_are_no_running_head() -> None:
    picture = white()
    for y in (60, 100, 400):
        picture[y : y + 2, 100:800] = 0
    rows = [("Site", "Owner", "Action")] + [(f"Pier {n}", "Port", "none") for n in range(9)]
    places = [70, *range(110, 380, 30)]
    lines = [
        line(x, y, text)
        for y, row in zip(places, rows, strict=True)
        for x, text in zip((110, 350, 650), row, strict=True)
    ]
    blocks = find_blocks(picture, lines, [Seen("table", 0.9, (95, 55, 805, 405))])
    assert [block.label for block in blocks] == ["table"]
    assert "<th>Owner</th>" in blocks[0].markdown


def test_a_running_head_in_the_margin_goes_with_its_page_number() -> None:
    margin = [line(880, 200, "Shift work", width=90), line(880, 226, "again", width=60)]
    margin.append(line(900, 300, "163", width=40))
    text = [line(60, 200 + 30 * n, BODY.format(n), width=760) for n in range(24)]
    labels = labels_of([*text, *margin])
    assert labels["Shift work"] == labels["again"] == labels["163"] == "aside"


def test_a_row_of_tabs_above_the_text_is_a_running_head() -> None:
    tabs = ["Introduction", "People", "Working together", "Governance", "Yearbook 2031"]
    head = [line(110 + 160 * n, 40, text, width=130, height=26) for n, text in enumerate(tabs)]
    labels = labels_of([*head, *body(30, 140)])
    assert {labels[text] for text in tabs} == {"header"}


def test_where_a_page_was_downloaded_is_a_notice() -> None:
    notice = line(100, 1360, "Downloaded from library.example by guest on 7 May 2031", height=16)
    labels = labels_of([*body(37), notice])
    assert labels[notice.text] == "footer"
