"""The second reader: what it finds in a text, and what it leaves alone."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pymupdf
import pytest
from PIL import Image

from deepocr.check.checker import check_page
from deepocr.check.compare import compare
from deepocr.check.dividing import divide
from deepocr.check.reading import read_regions
from deepocr.check.texts import load_texts
from deepocr.check.witness import layer_witness, reader_witness
from deepocr.cli import main
from deepocr.errors import InvalidInput
from deepocr.parsing.grounding import parse_regions
from deepocr.types import Finding, Line, Page, PageCheck, PageResult, Region, Word

SIZE_PX = (1000, 1400)
LETTER_PX, LINE_PX = 10, 24

SALT = (
    "The road from the coast to the high market was never",
    "a single track. Carters chose their way by the season,",
    "by the price of fodder and by the temper of whoever kept",
    "the bridge. Tolls were paid in kind: in 1742 a sack in",
    "forty was usual, and Marten Okafor took no other coin.",
)
BEES = (
    "Six hives now stand on the flat roof above the office",
    "of the mayor. The keeper climbs up twice a week with a",
    "smoker and a thermos flask. So far no clerk has been",
    "stung, although one window had to be closed.",
)


def words_of(lines: Sequence[str], x: int = 100, y: int = 200) -> list[Word]:
    """Lines of text as a layer has them, one below the other."""
    words = []
    for number, line in enumerate(lines):
        left = x
        for text in line.split():
            right = left + LETTER_PX * len(text)
            top = y + number * LINE_PX
            words.append(Word(text, (left, top, right, top + 18)))
            left = right + LETTER_PX // 2
    return words


def page_of(words: Sequence[Word]) -> Page:
    return Page(1, Image.new("RGB", SIZE_PX, "white"), words=tuple(words))


def check(words: Sequence[Word], text: str) -> PageCheck:
    witness = layer_witness(page_of(words))
    reading = read_regions(parse_regions(text, SIZE_PX))
    return compare(1, SIZE_PX, reading, witness)


def told(checked: PageCheck) -> list[Finding]:
    return [finding for finding in checked.findings if finding.kind != "furniture"]


def kinds(checked: PageCheck) -> set[str]:
    return {finding.kind for finding in told(checked)}


PLAIN = " ".join(SALT)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("never a", "nev- er a").replace("season", "sea- son"),
        f"<|ref|>text<|/ref|><|det|>[[90, 130, 700, 230]]<|/det|>\n**{PLAIN}**  \n",
        f"<p>{PLAIN.replace('and', '&#97;nd')}</p>",
        "\n".join(SALT).upper(),
    ],
    ids=["plain", "split words", "tags", "html", "lines"],
)
def test_the_same_words_are_confirmed_however_they_are_written(text: str) -> None:
    checked = check(words_of(SALT), text)
    assert checked.verdict == "confirmed", checked.findings
    assert (checked.coverage, checked.support) == (1.0, 1.0)


def test_a_missing_line_is_told_with_its_place() -> None:
    checked = check(words_of(SALT), " ".join((*SALT[:2], *SALT[3:])))
    assert kinds(checked) == {"missing"}
    box = told(checked)[0].box_px
    assert box is not None
    assert box[1] == 200 + 2 * LINE_PX
    assert "price of fodder" in told(checked)[0].witness


def test_a_footnote_is_missed_and_a_page_number_is_not() -> None:
    foot = ["1 The goat is entered twice, once as a toll."]
    words = [*words_of(SALT), *words_of(foot, y=1250), *words_of(["12"], x=480, y=1340)]
    checked = check(words, PLAIN)
    assert [finding.witness for finding in told(checked)] == foot
    assert [f.witness for f in checked.findings if f.kind == "furniture"] == ["12"]


def test_running_heads_are_no_alarm() -> None:
    words = [*words_of(["CHAPTER 4. THE SALT ROAD"], y=60), *words_of(SALT)]
    assert check(words, PLAIN).verdict == "confirmed"


def test_invented_and_repeated_words_are_unsupported() -> None:
    invented = "Nobody has ever counted the lanterns that hang there in winter."
    checked = check(words_of(SALT), f"{PLAIN} {invented}")
    assert [f.text for f in told(checked)] == [invented]
    twice = check(words_of(SALT), f"{PLAIN}\n\n{PLAIN}")
    assert kinds(twice) == {"unsupported"}
    assert twice.verdict == "contradicted"


def test_a_paragraph_that_stands_twice_may_be_written_twice() -> None:
    words = [*words_of(SALT), *words_of(SALT, y=500)]
    assert check(words, f"{PLAIN}\n\n{PLAIN}").verdict == "confirmed"
    assert kinds(check(words, PLAIN)) == {"missing"}


@pytest.mark.parametrize(
    ("wrong", "right"), [("1724", "1742"), ("1743", "1742"), ("Lindqvist", "Okafor")]
)
def test_other_numbers_and_names_differ(wrong: str, right: str) -> None:
    checked = check(words_of(SALT), PLAIN.replace(right, wrong))
    assert [(f.kind, f.witness, f.text) for f in told(checked)] == [("differs", right, wrong)]
    assert checked.verdict == "doubtful"


def test_text_of_another_page_is_contradicted() -> None:
    checked = check(words_of(SALT), " ".join(BEES))
    assert checked.verdict == "contradicted"
    assert kinds(checked) == {"missing", "unsupported"}


def test_columns_may_come_in_any_order_but_not_mixed() -> None:
    words = [*words_of(SALT[:4], x=20), *words_of(BEES, x=560)]
    left, right = " ".join(SALT[:4]), " ".join(BEES)
    assert check(words, f"{right}\n\n{left}").verdict == "confirmed"
    mixed = " ".join(f"{one} {two}" for one, two in zip(SALT[:4], BEES, strict=True))
    checked = check(words, mixed)
    assert kinds(checked) == {"order"}
    assert checked.verdict == "contradicted"


TABLE = (("Tin", "7.29", "232"), ("Zinc", "7.14", "420"), ("Copper", "8.96", "1085"))


def table_words() -> list[Word]:
    return [
        word
        for row, cells in enumerate(TABLE)
        for column, cell in enumerate(cells)
        for word in words_of([cell], x=100 + 250 * column, y=600 + 40 * row)
    ]


@pytest.mark.parametrize("by_column", [False, True])
def test_tables_are_compared_cell_by_cell(by_column: bool) -> None:
    rows = list(zip(*TABLE, strict=True)) if by_column else list(TABLE)
    cells = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    words = [*words_of(SALT), *table_words()]
    text = f"{PLAIN}\n\n<table>{cells}</table>"
    assert check(words, text).verdict == "confirmed"
    checked = check(words, text.replace("8.96", "8.90"))
    assert [(f.witness, f.text) for f in told(checked)] == [("8.96", "8.90")]
    assert kinds(check(words, PLAIN)) == {"missing"}


def test_formulas_are_left_out_of_the_count() -> None:
    lines = (*SALT, "the area is A = π r 2 + 2 h for all of them,", *BEES)
    text = " ".join((*SALT, r"the area is \(A = \pi r^{2} + 2h\) for all of them,", *BEES))
    checked = check(words_of(lines), text)
    assert checked.verdict == "confirmed", checked.findings


def test_text_inside_of_a_figure_is_no_alarm() -> None:
    words = [*words_of(SALT), *words_of(["GCL"], x=300, y=700), *words_of(["IPL"], x=500, y=760)]
    figure = "<|ref|>image<|/ref|><|det|>[[200, 450, 800, 700]]<|/det|>\n"
    assert (
        check(
            words, f"{figure}\n<|ref|>text<|/ref|><|det|>[[90, 130, 700, 230]]<|/det|>\n{PLAIN}"
        ).verdict
        == "confirmed"
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "no text layer"),
        (words_of(["draft"]), "1 words"),
        (words_of([line.replace("e", "\ufffd") for line in SALT]), "no encoding"),
        (words_of(SALT) * 2, "twice in one place"),
        (words_of(["མཏཾཾགིིའིི བོོ ཞེེས ཏཾཾ གིི"] * 4), "stand twice"),
        (words_of([line.translate(str.maketrans("aeiou", "bcdfg")) for line in SALT]), "vowels"),
    ],
)
def test_a_layer_that_lies_is_no_witness(words: list[Word], why: str) -> None:
    checked = check(words, PLAIN)
    assert checked.verdict == "no witness"
    assert why in checked.reason


def result_of(lines: Sequence[str], confidence: float) -> PageResult:
    seen = tuple(
        Line(text, ((100, y), (900, y), (900, y + 18), (100, y + 18)), confidence)
        for y, text in enumerate(lines)
    )
    region = Region("text", " ".join(lines), ((100, 0, 900, 100),), lines=seen)
    return PageResult(1, "ok", SIZE_PX, regions=(region,))


def test_a_reader_that_is_not_sure_is_no_witness() -> None:
    assert reader_witness(result_of(SALT, 0.98)).name == "ppocr"
    unsure = reader_witness(result_of(SALT, 0.7))
    assert unsure.name == "none"
    assert "70%" in unsure.reason


def test_a_foot_whose_page_number_is_a_number_of_the_text_too() -> None:
    foot = [*words_of(["(c) Copyright The Carters 2014. All rights reserved."], y=1300)]
    foot += words_of(["40"], x=900, y=1300)
    checked = check(
        [*words_of((*SALT, "They had 40 carts.")), *foot], f"{PLAIN} They had 40 carts."
    )
    assert checked.verdict == "confirmed"
    assert {finding.kind for finding in checked.findings} == {"furniture"}


def test_a_date_between_words_that_run_from_right_to_left() -> None:
    layer = [*words_of(SALT), *words_of(["19 / 09 / 1403"], y=500)]
    assert check(layer, f"{PLAIN}\n\n1403/09/19").verdict == "confirmed"
    (finding,) = told(check(layer, f"{PLAIN}\n\n1403/09/16"))
    assert finding.kind == "differs"


def test_arabic_words_may_be_drawn_out() -> None:
    words = ["تحقيق", "القرار", "السياسي", "المصري", "في", "هذا", "اليوم", "من", "كل", "عام"]
    drawn = " ".join(word[:2] + 6 * "\u0640" + word[2:] for word in words)
    assert check(words_of([" ".join(words)]), drawn).verdict == "confirmed"


def test_a_script_that_the_reader_does_not_know_gets_no_verdict() -> None:
    reading = read_regions(parse_regions("འབྲེལ་ཡོད་ཀློག་དེབ མཁན་པོ་བསོད་དར་རྒྱས", SIZE_PX))
    checked = compare(1, SIZE_PX, reading, reader_witness(result_of(SALT, 0.98)))
    assert checked.verdict == "no witness"
    assert "script" in checked.reason


def test_text_on_a_blank_page_is_contradicted() -> None:
    regions = parse_regions(PLAIN, SIZE_PX)
    checked = asyncio.run(check_page(page_of([]), regions))
    assert (checked.verdict, checked.witness) == ("contradicted", "ink")
    assert asyncio.run(check_page(page_of([]), ())).verdict == "confirmed"


def test_a_loop_costs_little() -> None:
    text = " ".join(f"{number}000" for number in range(1, 6000))
    checked = check(words_of(SALT), f"{PLAIN}\n\n{text}")
    assert checked.verdict == "contradicted"


LABELED = Path(__file__).resolve().parents[2] / "samples" / "labeled"


def test_the_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = LABELED / "footnotes.pdf"
    text = tmp_path / "text.md"
    text.write_text((LABELED / "footnotes.txt").read_text("utf-8"), "utf-8")
    call = ["check", str(document), "--text", str(text), "--no-reader"]
    assert main(call) == 0
    assert "1 confirmed" in capsys.readouterr().out

    lines = text.read_text("utf-8").splitlines()
    text.write_text("\n".join(lines[:-2]), "utf-8")
    report = tmp_path / "report.json"
    assert main([*call, "--json", str(report)]) == 3
    assert "missing" in capsys.readouterr().out
    assert '"verdict": "' in report.read_text("utf-8")

    assert (
        main(["check", str(document), "--text", str(tmp_path / "nothing.md"), "--no-reader"]) == 2
    )
    assert main(["check", str(text), "--text", str(text), "--no-reader"]) == 2


@pytest.mark.parametrize("strict", ["0", "-1", "nan", "inf", "much"])
def test_a_strictness_that_cannot_be_is_refused(
    strict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    document = str(LABELED / "footnotes.pdf")
    with pytest.raises(SystemExit, match="2"):
        main(["check", document, "--text", document, "--strict", strict])
    assert "--strict" in capsys.readouterr().err


def test_one_file_for_a_whole_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document, text = tmp_path / "book.pdf", tmp_path / "book.md"
    with pymupdf.open() as pdf:
        for lines in (SALT, BEES):
            page = pdf.new_page(width=500, height=300)
            for number, line in enumerate(lines):
                page.insert_text((40, 60 + 16 * number), line)
        pdf.save(document)
    call = ["check", str(document), "--text", str(text), "--no-reader"]
    text.write_text("\n".join((*SALT, *BEES)), "utf-8")
    assert main(call) == 0
    assert "2 confirmed" in capsys.readouterr().out
    text.write_text("\n".join((*SALT, *BEES[:3])), "utf-8")
    assert main(call) == 3
    assert "page 2: contradicted" in capsys.readouterr().out
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "1.txt").write_text("\n".join(SALT), "utf-8")
    assert main([*call[:-2], str(tmp_path / "pages"), "--no-reader"]) == 3
    assert "page 2: contradicted (none: there is no text of this page)" in capsys.readouterr().out


def test_texts_by_page(tmp_path: Path) -> None:
    (tmp_path / "page_0002.raw.txt").write_text("two", "utf-8")
    (tmp_path / "page_0001.mmd").write_text("one", "utf-8")
    (tmp_path / "document.mmd").write_text("a\n<--- Page Split --->\nb\n<--- Page Split --->\n")
    assert load_texts(tmp_path, 2) == {1: "one", 2: "two"}
    assert load_texts(tmp_path, 2, page=2) == {2: "two"}
    assert load_texts(tmp_path / "document.mmd", 2) == {1: "a\n", 2: "\nb\n"}
    assert load_texts(tmp_path / "page_0001.mmd", 9, page=4) == {4: "one"}


@pytest.mark.parametrize(
    "names",
    [
        ("0001.txt", "0002.txt"),
        ("page-0.md", "page-1.md"),
        ("report_page_1.md", "report_page_2.md"),
        ("page_1.mmd", "page_2.mmd", "page_1.raw.txt", "page_2.raw.txt", "README.md"),
        ("Page 01.MD", "Page 02.MD"),
    ],
)
def test_names_that_tools_give_to_texts(tmp_path: Path, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        (tmp_path / name).write_text(f"{['one', 'two'][number] if number < 2 else name}", "utf-8")
    assert load_texts(tmp_path, 2) == {1: "one", 2: "two"}


@pytest.mark.parametrize(
    "text", ["one\ftwo\f", "one\ftwo", f"{{0}}{48 * '-'}\none\n{{1}}{48 * '-'}\ntwo"]
)
def test_marks_that_tools_put_between_pages(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.md").write_text(text, "utf-8")
    texts = load_texts(tmp_path / "a.md", 2)
    assert {number: page.strip() for number, page in texts.items()} == {1: "one", 2: "two"}


def test_one_text_of_many_pages_is_divided() -> None:
    """A paragraph runs over the first page's end; the second page has a line that is on all."""
    pages = ((*SALT, "Market roads"), (), ("Market roads", *BEES))
    witnesses = [layer_witness(page_of(words_of(lines))) for lines in pages]
    salt, bees = " ".join(SALT), " ".join(BEES)
    parts = divide(f"{salt} {bees}", witnesses)
    assert [part.strip() for part in parts] == [salt, "", bees]
    assert parts[0].endswith("coin. ")
    tag = "<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>"
    assert divide(f"{tag}{salt}{tag}{bees}", witnesses) == [f"{tag}{salt}", "", f"{tag}{bees}"]
    assert divide("", witnesses) == ["", "", ""]
    assert "".join(divide(f"{bees} {salt}", witnesses)) == f"{bees} {salt}"


@pytest.mark.parametrize(
    ("name", "num_pages", "page", "why"),
    [
        ("document.mmd", 3, None, "2 pages and the document 3"),
        (".", 1, None, "page 2"),
        ("mixed", 2, None, "'a' and with 'b'"),
        ("page_0001.mmd", 2, 5, "page 5"),
        ("nothing.md", 1, None, "cannot be read"),
    ],
)
def test_texts_that_do_not_fit(
    tmp_path: Path, name: str, num_pages: int, page: int | None, why: str
) -> None:
    for number in (1, 2):
        (tmp_path / f"page_000{number}.mmd").write_text("text", "utf-8")
    (tmp_path / "document.mmd").write_text("a<--- Page Split --->b<--- Page Split --->", "utf-8")
    (tmp_path / "mixed").mkdir()
    for other in ("a1.md", "b2.md"):
        (tmp_path / "mixed" / other).write_text("text", "utf-8")
    with pytest.raises(InvalidInput, match=why):
        load_texts(tmp_path / name, num_pages, page)


def test_a_password(tmp_path: Path) -> None:
    document, text = tmp_path / "book.pdf", tmp_path / "book.md"
    with pymupdf.open(LABELED / "footnotes.pdf") as pdf:
        pdf.save(document, encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="open")
    text.write_text((LABELED / "footnotes.txt").read_text("utf-8"), "utf-8")
    call = ["check", str(document), "--text", str(text), "--no-reader"]
    assert main(call) == 2
    assert main([*call, "--password", "open"]) == 0
