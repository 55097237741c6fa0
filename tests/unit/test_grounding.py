from pathlib import Path

import pytest

from deepocr.parsing.grounding import box_to_px, box_to_raw, format_tag, parse_regions
from deepocr.render.raw import PAGE_SPLIT
from deepocr.types import Region, TextDelta

SIZE = (1998, 999)
MODEL_OUTPUTS = sorted(
    (Path(__file__).resolve().parents[3] / "shared" / "data" / "model_outputs").glob("*.mmd")
)

PAGE = r"""<|ref|>title<|/ref|><|det|>[[100, 50, 900, 90]]<|/det|>
# Notes on lamps

<|ref|>text<|/ref|><|det|>[[100, 100, 900, 200]]<|/det|>
The power is \(P = UI\), so that a < b
holds for 5% of them.

<|ref|>equation<|/ref|><|det|>[[100, 210, 900, 240]]<|/det|>
\[\frac{1}{2} \quad (3)\]

<|ref|>image<|/ref|><|det|>[[100, 250, 500, 500]]<|/det|>
<|ref|>image_caption<|/ref|><|det|>[[100, 510, 500, 530]]<|/det|>
<center>Figure 1. A lamp. </center>

<|ref|>table<|/ref|><|det|>[[100, 600, 900, 800]]<|/det|>
<|ref|>table_caption<|/ref|><|det|>[[100, 570, 900, 590]]<|/det|>
Table 1. Lamps.

<table><tr><td>Lamp</td><td>5 W</td></tr></table>
"""


def tag(boxes: str, label: str = "text") -> str:
    return f"<|ref|>{label}<|/ref|><|det|>{boxes}<|/det|>"


def only_text(raw: str) -> None:
    """The whole of it is text, and none of it is lost."""
    assert parse_regions(raw, SIZE) == (Region("text", raw.strip()),)


def test_a_whole_page() -> None:
    regions = parse_regions(PAGE, SIZE)
    assert [(r.label, r.text) for r in regions] == [
        ("title", "# Notes on lamps"),
        ("text", "The power is \\(P = UI\\), so that a < b\nholds for 5% of them."),
        ("equation", r"\[\frac{1}{2} \quad (3)\]"),
        ("image", ""),
        ("image_caption", "Figure 1. A lamp."),
        ("table", "<table><tr><td>Lamp</td><td>5 W</td></tr></table>"),
        ("table_caption", "Table 1. Lamps."),
    ]
    assert regions[0].boxes_raw == ((100, 50, 900, 90),)
    assert regions[0].boxes_px == ((200, 50, 1800, 90),)
    assert all(r.confidence is None for r in regions)


def test_boxes_reach_the_edges() -> None:
    assert box_to_px((0, 0, 999, 999), (1224, 1584)) == (0, 0, 1224, 1584)
    assert box_to_px((0, 0, 0, 0), (1224, 1584)) == (0, 0, 0, 0)
    assert box_to_raw((0, 0, 1224, 1584), (1224, 1584)) == (0, 0, 999, 999)
    assert box_to_raw((-5, -5, 2000, 2000), (1224, 1584)) == (0, 0, 999, 999)
    box = (17, 400, 555, 998)
    assert box_to_raw(box_to_px(box, (3000, 2500)), (3000, 2500)) == box


def test_several_boxes_are_one_region() -> None:
    (region,) = parse_regions(tag("[[1, 2, 3, 4], [5,6,7,8],[ 9 , 10 , 11 , 12 ]]", "a cat"), SIZE)
    assert region.label == "a cat"
    assert region.boxes_raw == ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12))
    assert len(region.boxes_px) == 3
    assert region.text == ""


def test_format_tag_is_read_back() -> None:
    raw = format_tag("sub_title", [(1, 2, 3, 4), (0, 0, 999, 999)])
    assert raw == "<|ref|>sub_title<|/ref|><|det|>[[1, 2, 3, 4], [0, 0, 999, 999]]<|/det|>"
    (region,) = parse_regions(raw, SIZE)
    assert region.boxes_raw == ((1, 2, 3, 4), (0, 0, 999, 999))
    (region,) = parse_regions(format_tag("a <|ref|> b", [(1, 2, 3, 4)]), SIZE)
    assert region.boxes_raw == ((1, 2, 3, 4),)


def test_text_outside_tags_keeps_its_place() -> None:
    raw = f"before\n{tag('[[1, 2, 3, 4]]')}\ninside"
    assert [(r.label, r.text, len(r.boxes_px)) for r in parse_regions(raw, SIZE)] == [
        ("text", "before", 0),
        ("text", "inside", 1),
    ]
    only_text("no tags at all, <b>just</b> text\n\nwith [[1, 2, 3, 4]] numbers")
    assert parse_regions("", SIZE) == ()
    assert parse_regions(" \n\t ", SIZE) == ()


@pytest.mark.parametrize(
    ("written", "boxes"),
    [
        # the edge of a page, as good pages have it too
        ("[[0, 0, 999, 1005]]", ((0, 0, 999, 999),)),
        ("[[1000, 0, 1010, 5]]", ((999, 0, 999, 5),)),
        ("[[1, 2, 3, 4], [5, 6, 7, 8]]", ((1, 2, 3, 4), (5, 6, 7, 8))),
        ("[[1, 2, 3, 4],]", ((1, 2, 3, 4),)),
        ("[1, 2, 3, 4]", ((1, 2, 3, 4),)),
        ("[[1, 2, 3, 4], [9, 9, 1, 1]]", ((1, 2, 3, 4),)),
        ("[[5, 5, 5, 5]]", ((5, 5, 5, 5),)),
        # what cannot be meant
        ("[[1, 2, 3, 1011]]", ()),
        ("[[9, 3200, 61, 400]]", ()),
        ("[[100, 1000, 130, 119]]", ()),
        ("[[1, 2, 3]]", ()),
        ("[[1, 2, 3, 4, 5]]", ()),
        ("[[50, -1, 100, 115]]", ()),
        ("[[1, 2, 3, 4.5]]", ()),
        ("[[3, 2, 1, 4]]", ()),
        ("[[3480: 400, 978, 400]]", ()),
        ("[{{2000 2000", ()),
        ("[[１, 2, 3, 4]]", ()),
        ("[[__import__('os').abort(), 2, 3, 4]]", ()),
        ("[[]]", ()),
        ("", ()),
    ],
)
def test_a_tag_keeps_its_label_and_the_boxes_that_can_be_meant(
    written: str, boxes: tuple[tuple[int, ...], ...]
) -> None:
    before, region, after = parse_regions(
        f"a {tag(written, 'table')}its text {tag('[[1, 2, 3, 4]]', 'title')}b", SIZE
    )
    assert (region.label, region.text, region.boxes_raw) == ("table", "its text", boxes)
    assert (before.text, after.label, after.text) == ("a", "title", "b")


@pytest.mark.parametrize(
    ("raw", "label", "text", "boxes"),
    [
        ("<|/ref|>title<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>x", "title", "x", 1),
        ("<|ref|>title<|/ref|><|det|>[[1, 2, 3, 4]]\nx", "title", "x", 1),
        ("<|ref|>title<|/ref|>x y", "title", "x y", 0),
        ("<|ref|>title<|/ref|><|det|>[[1, 2\nx y", "title", "x y", 0),
        ("<|ref|>title x y", "text", "title x y", 0),
        ("x<|/det|> <|/ref|>y <|det|>", "text", "x y", 0),
        ("<|ref|><|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>x", "text", "x", 1),
        ("<|ref|>" + "x" * 2001 + "<|/ref|>", "text", "x" * 2001, 0),
    ],
)
def test_no_marker_stays_in_a_text(raw: str, label: str, text: str, boxes: int) -> None:
    (region,) = parse_regions(f"{raw}\nend", SIZE)
    assert (region.label, len(region.boxes_px)) == (label, boxes)
    assert region.text.split() == [*text.split(), "end"]


def test_a_tag_that_is_cut_off_at_the_end_is_dropped() -> None:
    whole = tag("[[10, 20, 30, 40]]", "sub_title")
    for length in range(2, len(whole)):
        regions = parse_regions(f"{tag('[[1, 2, 3, 4]]')}x\n\n{whole[:length]}", SIZE)
        assert [(r.label, r.text) for r in regions] == [("text", "x")], whole[:length]


def test_a_tag_inside_an_unfinished_tag() -> None:
    raw = "<|ref|>table<|/ref|><|det|>[[1, 2, " + tag("[[1, 2, 3, 4]]", "title")
    assert [r.label for r in parse_regions(raw, SIZE)] == ["table", "title"]


@pytest.mark.parametrize(
    ("written", "whole"),
    [
        ("<table><tr><td>1</td><td>2", "<table><tr><td>1</td><td>2</td></tr></table>"),
        ("<table><tr><td>1</td></t", "<table><tr><td>1</td></tr></table>"),
        (
            "<table><tr><td><b><i>1</b></i></td></tr></table>",
            "<table><tr><td><b><i>1</i></b></td></tr></table>",
        ),
        ("<table><tr><td>1<td>2</table>", "<table><tr><td>1</td><td>2</td></tr></table>"),
        (
            "<table><tr><td>1</td></tr><table><tr><td>2</td></tr></table>",
            "<table><tr><td>1</td></tr></table><table><tr><td>2</td></tr></table>",
        ),
        (
            "<table><tr><td>1</td><td>2</td></tr></table>\n3 | x < y\n| 5 | 6 |\n\nSource: us",
            "<table><tr><td>1</td><td>2</td></tr><tr><td>3</td><td>x &lt; y</td></tr>"
            "<tr><td>5</td><td>6</td></tr></table>\n\nSource: us",
        ),
    ],
)
def test_a_table_is_given_whole(written: str, whole: str) -> None:
    assert parse_regions(tag("[[1, 2, 3, 4]]", "table") + written, SIZE)[0].text == whole
    caption = tag("[[1, 2, 3, 4]]", "table") + tag("[[1, 2, 3, 4]]", "table_caption")
    if "Source" not in written and written.count("<table") == 1:
        assert parse_regions(caption + written, SIZE)[0].text == whole


def test_a_good_table_stays_as_it_was_written() -> None:
    table = '<table border=1><TR><th Colspan="2">a</th></TR><tr><td>b<br/></td></tr></table> x | y'
    assert parse_regions(tag("[[1, 2, 3, 4]]", "table") + table, SIZE)[0].text == table


def table_and_caption(caption_text: str, table_text: str = "") -> list[tuple[str, str]]:
    raw = f"{tag('[[1, 2, 3, 4]]', 'table')}\n{table_text}\n"
    raw += f"{tag('[[5, 6, 7, 8]]', 'table_caption')}\n{caption_text}\n"
    return [(r.label, r.text) for r in parse_regions(raw, SIZE)]


def test_a_table_takes_its_html_from_the_caption_only() -> None:
    html = '<table border="1"><tr><td>1</td></tr></table>'
    assert table_and_caption(f"Cap\n\n{html}") == [("table", html), ("table_caption", "Cap")]
    assert table_and_caption(f"{html}\n\nCap") == [("table", html), ("table_caption", "Cap")]
    assert table_and_caption(f"A\n{html}\nB") == [("table", html), ("table_caption", "A\n\nB")]
    assert table_and_caption(html) == [("table", html), ("table_caption", "")]
    # cut off by the token limit
    cut = "<table><tr><td>1</td><td>2"
    assert table_and_caption(f"Cap\n{cut}") == [
        ("table", f"{cut}</td></tr></table>"),
        ("table_caption", "Cap"),
    ]
    # a table that has its own, and a caption without any
    assert table_and_caption(f"Cap {html}", "<table>") == [
        ("table", "<table></table>"),
        ("table_caption", f"Cap {html}"),
    ]
    assert table_and_caption("Cap") == [("table", ""), ("table_caption", "Cap")]
    # only the caption that stands right after it
    raw = tag("[[1, 2, 3, 4]]", "table") + tag("[[1, 2, 3, 4]]") + "x\n"
    raw += tag("[[1, 2, 3, 4]]", "table_caption") + html
    assert [r.text for r in parse_regions(raw, SIZE)] == ["", "x", html]


def test_center_goes_only_around_a_whole_text() -> None:
    def text_of(text: str) -> str:
        return parse_regions(tag("[[1, 2, 3, 4]]", "image_caption") + text, SIZE)[0].text

    assert text_of("\n<center>Figure 2. </center>  \n") == "Figure 2."
    for kept in ("<center>a</center> b", "<center>a", "<center>a</center><center>b</center>"):
        assert text_of(kept) == kept


def test_confidence_is_the_mean_over_the_tokens_of_the_text() -> None:
    first, second = tag("[[1, 2, 3, 4]]"), tag("[[5, 6, 7, 8]]", "image")
    deltas = [
        TextDelta(first, (0.1, 0.1)),
        TextDelta("\nHello", (0.8,)),
        TextDelta(" wor", (0.6, 0.7)),
        TextDelta("ld\n\n", (0.9,)),
        TextDelta(second, (0.5, 0.3)),
    ]
    raw = "".join(delta.text for delta in deltas)
    text, image = parse_regions(raw, SIZE, deltas)
    assert text.text == "Hello world"
    assert text.confidence == pytest.approx((0.8 + 0.6 + 0.7 + 0.9) / 4)
    assert image.confidence == pytest.approx(0.4)


def test_confidence_of_a_table_comes_from_its_html() -> None:
    head = tag("[[1, 2, 3, 4]]", "table") + "\n" + tag("[[1, 2, 3, 4]]", "table_caption") + "\n"
    deltas = [
        TextDelta(head, (0.2,)),
        TextDelta("Caption", (0.9,)),
        TextDelta("\n\n"),
        TextDelta("<table></table>", (0.6,)),
    ]
    raw = "".join(delta.text for delta in deltas)
    table, caption = parse_regions(raw, SIZE, deltas)
    assert (table.confidence, caption.confidence) == (pytest.approx(0.6), pytest.approx(0.9))


def test_without_probabilities_there_is_no_confidence() -> None:
    (region,) = parse_regions("text", SIZE, [TextDelta("te"), TextDelta("xt")])
    assert region.confidence is None


JUNK = {
    "opened": "<|ref|>",
    "labels": "<|ref|>a",
    "dets": "<|ref|>a<|/ref|><|det|>[",
    "boxes": "[1, 2, 3, 4],",
    "brackets": "[",
    "spaces": " ",
    "centers": "<center>",
    "tables": tag("[[1, 2, 3, 4]]", "table") + tag("[[1, 2, 3, 4]]", "table_caption") + "<table",
    "tags": tag("[[1, 2, 3, 4]]") + "x",
}


# quadratic time would take hours on these, linear time takes seconds
@pytest.mark.timeout(60)
@pytest.mark.parametrize("prefix", ["", "<|ref|>", "<|ref|>a<|/ref|>", "<|ref|>a<|/ref|><|det|>["])
@pytest.mark.parametrize("junk", JUNK)
def test_a_megabyte_of_junk(junk: str, prefix: str) -> None:
    raw = prefix + JUNK[junk] * (1_000_000 // len(JUNK[junk]))
    regions = parse_regions(raw, SIZE)
    assert not any("<|ref|>" in region.text or "<|det|>" in region.text for region in regions)


@pytest.mark.skipif(not MODEL_OUTPUTS, reason="published model outputs are not on this machine")
@pytest.mark.parametrize("path", MODEL_OUTPUTS, ids=lambda path: path.stem)
def test_published_outputs(path: Path) -> None:
    for raw in path.read_text(encoding="utf-8").split(PAGE_SPLIT):
        regions = parse_regions(raw, SIZE)
        assert len(regions) == raw.count("<|ref|>")
        for region in regions:
            assert region.boxes_px
            assert "<|" not in region.text
            assert "center>" not in region.text
            assert (region.label == "table") == ("<table>" in region.text)
            assert (region.label == "image") == (region.text == "")
