"""What a text lacks is inserted where it belongs, once, and marked."""

from collections.abc import Sequence

import pytest

from deepocr.check.compare import compare
from deepocr.check.reading import read_regions
from deepocr.check.repair import repaired
from deepocr.check.witness import SeenLine, Witness
from deepocr.render.markdown import render_markdown
from deepocr.types import Box, PageResult, Region, Word

SIZE = (1000, 1400)
LEFT = (
    "The road from the coast was never a single",
    "track, and carters chose their way by the",
    "season and by the price of fodder, until a",
    "bridge was built in the summer of that year.",
)
RIGHT = (
    "Tolls were paid in kind: a sack in forty was",
    "usual, and the keeper took no other coin than",
    "flour, which he sold on the market in spring.",
)
NOTE = "1 The bridge fell in the flood of 1802 & was not built again."


def line(text: str, x: int, y: int) -> SeenLine:
    """Letters are 9 px wide."""
    words, at = [], x
    for part in text.split():
        words.append(Word(part, (at, y, at + 9 * len(part), y + 20)))
        at += 9 * len(part) + 9
    return SeenLine(tuple(words), (x, y, at - 9, y + 20))


def column(lines: Sequence[str], x: int, y: int = 100) -> list[SeenLine]:
    return [line(text, x, y + 28 * place) for place, text in enumerate(lines)]


PAGE = [*column(LEFT, 60), line(NOTE, 60, 700), *column(RIGHT, 560)]


def read(*texts: str | Region, lines: Sequence[SeenLine] = tuple(PAGE)) -> PageResult:
    regions = tuple(Region("text", text) if isinstance(text, str) else text for text in texts)
    witness = Witness("text layer", "sound", tuple(lines))
    check = compare(1, SIZE, read_regions(regions), witness)
    return repaired(PageResult(1, "ok", SIZE, regions=regions, check=check))


def paragraph(lines: Sequence[str]) -> str:
    return " ".join(lines)


INSERTED_NOTE = f"<ins>{NOTE.replace('&', '&amp;')}</ins>"


def test_a_line_of_a_paragraph_comes_between_its_neighbors() -> None:
    page = read(paragraph((*LEFT[:2], *LEFT[3:])), NOTE, paragraph(RIGHT))
    assert page.regions[0].text == paragraph((*LEFT[:2], f"<ins>{LEFT[2]}</ins>", *LEFT[3:]))
    assert len(page.regions) == 3


def test_words_in_the_middle_of_a_line() -> None:
    short = paragraph(LEFT).replace("by the price of fodder, ", "")
    page = read(short, NOTE, paragraph(RIGHT))
    assert page.regions[0].text == paragraph(LEFT).replace(
        "by the price of fodder,", "<ins>by the price of fodder,</ins>"
    )


@pytest.mark.parametrize("together", [False, True])
def test_a_footnote_is_no_part_of_the_paragraph_that_runs_around_it(together: bool) -> None:
    texts = [paragraph(LEFT), paragraph(RIGHT)]
    page = read(" ".join(texts)) if together else read(*texts)
    at = 1
    assert page.regions[at].text == INSERTED_NOTE
    assert page.regions[at].boxes_px == (PAGE[4].box_px,)
    assert page.regions[0].text == (" ".join(texts) if together else texts[0])


def test_plain_text_of_one_region_gets_a_paragraph() -> None:
    page = read(f"{paragraph(LEFT)}\n\n{paragraph(RIGHT)}")
    text = f"{paragraph(LEFT)}\n\n{INSERTED_NOTE}\n\n{paragraph(RIGHT)}"
    assert render_markdown(page) == text


def test_what_stands_above_all_comes_first() -> None:
    page = read(NOTE, paragraph(RIGHT), lines=PAGE[4:])
    assert "<ins>" not in render_markdown(page)
    page = read(NOTE, paragraph(RIGHT))
    assert page.regions[0].text == f"<ins>{paragraph(LEFT)}</ins>"
    assert page.regions[1].text == NOTE


def test_a_page_without_text_gets_all_of_it() -> None:
    page = read()
    assert [region.text for region in page.regions] == [
        f"<ins>{paragraph(LEFT)}</ins>",
        INSERTED_NOTE,
        f"<ins>{paragraph(RIGHT)}</ins>",
    ]


def test_a_table_is_not_torn() -> None:
    cells = [
        line(text, x, y)
        for y, row in ((100, "Rye 12"), (128, "Barley 31"))
        for text, x in zip(row.split(), (60, 260), strict=True)
    ]
    lines = [*cells, line("Sums of the whole harvest in tons", 60, 156), *column(RIGHT, 60, 400)]
    table = "<table><tr><td>Rye</td><td>12</td></tr><tr><td>Barley</td><td>31</td></tr></table>"
    page = read(Region("table", table), paragraph(RIGHT), lines=lines)
    assert [region.text for region in page.regions] == [
        table,
        "<ins>Sums of the whole harvest in tons</ins>",
        paragraph(RIGHT),
    ]


def test_chinese_without_spaces() -> None:
    first = "大道从海边通到高处的市场从来不只一条车夫按季节来选路"
    second = "直到桥在那一年的夏天建成为止价钱都要看草料的多少"
    page = read(first[:4] + first[18:] + second, lines=column((first, second), 60))
    assert page.regions[0].text == (f"{first[:4]} <ins>{first[4:18]}</ins>{first[18:]}{second}")


def test_a_word_cut_at_the_line_s_end_is_whole_again() -> None:
    lines = column(("It was a matter of the whole neigh-", "borhood, and everyone knew of it."), 60)
    page = read(paragraph(RIGHT), lines=[*lines, *column(RIGHT, 60, 400)])
    assert page.regions[0].text == (
        "<ins>It was a matter of the whole neighborhood, and everyone knew of it.</ins>"
    )


def test_findings_tell_where_it_stands_and_it_is_inserted_once() -> None:
    page = read(paragraph(LEFT), paragraph(RIGHT).replace("forty", "fifty 44 of them"))
    assert page.check is not None
    places = {finding.kind: finding.region for finding in page.check.findings}
    assert places["missing"] == 1
    assert all(finding.offset is None for finding in page.check.findings)
    others = {kind: region for kind, region in places.items() if kind != "missing"}
    assert set(others.values()) <= {2}
    assert repaired(page) == page


def test_without_a_check_nothing_changes() -> None:
    page = PageResult(1, "ok", SIZE, regions=(Region("text", "words"),))
    assert repaired(page) is page


def test_what_the_witness_saw_is_text_and_no_markup() -> None:
    hostile = line("<script>alert(1)</script> said the layer of this page", 60, 300)
    page = read(paragraph(LEFT), NOTE, paragraph(RIGHT), lines=[*PAGE, hostile])
    assert "<script>" not in render_markdown(page)
    assert "&lt;script&gt;" in render_markdown(page)


def test_boxes_are_around_all_lines() -> None:
    page = read(NOTE, paragraph(LEFT))
    box: Box = (560, 100, PAGE[6].box_px[2], PAGE[7].box_px[3])
    assert page.regions[-1].boxes_px == (box,)
