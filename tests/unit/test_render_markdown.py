from deepocr.parsing.grounding import parse_regions
from deepocr.render.markdown import BOXES, LOCATE, figures_of, render_markdown
from deepocr.render.raw import PAGE_SPLIT, join_pages, render_raw
from deepocr.tasks import TASKS
from deepocr.types import PageResult, Region
from tests.unit.test_grounding import PAGE, tag

SIZE = (1998, 999)


def page(raw: str, number: int = 1) -> PageResult:
    return PageResult(number, "ok", SIZE, raw, parse_regions(raw, SIZE))


def test_a_whole_page() -> None:
    link = "images/page_{:04}_{:02}.png".format
    text = render_markdown(page(PAGE, 7), lambda number, region: link(7, number))
    assert (
        text
        == r"""# Notes on lamps

The power is \(P = UI\), so that a < b
holds for 5% of them.

\[\frac{1}{2} \quad (3)\]

![image 1 of page 7](images/page_0007_01.png)

Figure 1. A lamp.

Table 1. Lamps.

<table><tr><td>Lamp</td><td>5 W</td></tr></table>"""
    )


def test_figures_without_links_are_comments_with_their_place() -> None:
    text = render_markdown(page(PAGE))
    assert "<!-- image 1 of page 1: (200, 250, 1000, 500) -->" in text
    assert "![" not in text


def test_figures_are_numbered_as_figures_of_lists_them() -> None:
    raw = "".join(
        tag(f"[[{n}, 1, 10, 10]]", label) for n, label in enumerate(["image", "text"] * 3)
    )
    result = page(raw)
    seen: list[tuple[int, Region]] = []
    render_markdown(result, lambda number, region: seen.append((number, region)) or "x")  # type: ignore[func-returns-value]
    assert seen == list(enumerate(figures_of(result), start=1))
    assert len(seen) == 3


def test_a_table_caption_stands_where_it_stood() -> None:
    html = "<table></table>"
    above = tag("[[1, 50, 9, 90]]", "table") + tag("[[1, 10, 9, 40]]", "table_caption")
    below = tag("[[1, 50, 9, 90]]", "table") + tag("[[1, 95, 9, 99]]", "table_caption")
    assert render_markdown(page(f"{above}Cap {html}")) == f"Cap\n\n{html}"
    assert render_markdown(page(f"{below}Cap {html}")) == f"{html}\n\nCap"
    two = render_markdown(page(f"{above}A {html}{below}B {html}{tag('[[1, 1, 2, 2]]', 'table')}"))
    assert two == f"A\n\n{html}\n\n{html}\n\nB"


def test_headings_get_a_mark_only_where_they_have_none() -> None:
    raw = tag("[[1, 1, 2, 2]]", "title") + "Two\nlines" + tag("[[1, 1, 2, 2]]", "sub_title") + "Sub"
    raw += tag("[[1, 1, 2, 2]]", "sub_title") + "### 5.1 Own"
    assert render_markdown(page(raw)) == "# Two lines\n\n## Sub\n\n### 5.1 Own"


def test_what_the_model_escaped_stays_escaped() -> None:
    text = r"a \* b \_c\_ &lt;script&gt; 5 \% `code` \\ **bold** | pipe"
    assert render_markdown(page(tag("[[1, 1, 2, 2]]") + text)) == text
    assert render_markdown(page(text)) == text


def test_link_targets_cannot_break_out() -> None:
    raw = tag("[[1, 1, 2, 2]]", "image")
    text = render_markdown(page(raw), lambda number, region: "my (1) <pic>\n.png")
    assert text == "![image 1 of page 1](<my (1) %3Cpic%3E%0A.png>)"


def test_boxes_results_give_their_lines() -> None:
    raw = tag("[[1, 1, 2, 2]]", "Total due") + "\n" + tag("[[1, 3, 2, 4]]", "204.16")
    assert render_markdown(page(raw)) == "Total due\n\n204.16"
    assert BOXES in TASKS
    raw += tag("[[1, 5, 2, 6]]", "table") + tag("[[1, 7, 2, 8]]", "image")
    assert render_markdown(page(raw), task=BOXES) == "Total due\n\n204.16\n\ntable\n\nimage"


def test_locate_results_give_places() -> None:
    assert LOCATE in TASKS
    raw = tag("[[0, 0, 999, 999], [1, 2, 3, 4]]", "the red cat")
    expected = "- the red cat: (0, 0, 1998, 999); (2, 2, 6, 4)"
    assert render_markdown(page(raw), task=LOCATE) == expected
    assert render_markdown(page("Not found."), task=LOCATE) == "Not found."
    assert render_markdown(page("")) == ""


def test_a_failed_page_is_a_comment() -> None:
    result = PageResult(3, "failed", (0, 0), error="bad --> <b>\nnews")
    comment = "<!-- page 3 failed: bad - -&gt; <b&gt; news -->"
    assert render_markdown(result) == render_raw(result) == comment


def test_raw_is_verbatim() -> None:
    assert render_raw(page(PAGE)) == PAGE


def test_each_page_has_its_separator() -> None:
    text = join_pages(["one\n\n", "", "three"])
    assert text.count(PAGE_SPLIT) == 3
    assert [part.strip() for part in text.split(PAGE_SPLIT)] == ["one", "", "three", ""]
    assert all(line in (PAGE_SPLIT, "one", "three", "") for line in text.split("\n"))
    assert join_pages([]) == ""
