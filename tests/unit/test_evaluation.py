"""Checks and distances: the rules, the files, and a run with the scripted engine."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rapidfuzz.distance import Levenshtein

from deepocr.engines.scripted import Reply, Script, ScriptedEngine
from deepocr.errors import InvalidInput
from deepocr.evaluation.checks import Check, load_checks, run_check
from deepocr.evaluation.grids import find_tables
from deepocr.evaluation.report import score_json, score_table
from deepocr.evaluation.run import evaluate, load_set
from deepocr.evaluation.texts import edit_distance, error_rate, match_starts, normalize, plain
from deepocr.settings import Settings
from deepocr.tasks import make_job


def check(kind: str, **fields: Any) -> Check:
    return Check(pdf="a.pdf", page=1, id="x", type=kind, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "page", "passes"),
    [
        ({"text": "the lazy dog"}, "Over **the lazy**\ndog it jumps", True),
        ({"text": "the lazy dog"}, "Over the crazy dog it jumps", False),
        ({"text": "the lazy dog", "max_diffs": 1}, "Over the hazy dog", False),
        ({"text": "the lazy dog", "max_diffs": 2}, "Over the hazy dog", True),
        ({"text": "The Dog"}, "the dog", False),
        ({"text": "The Dog", "case_sensitive": False}, "the dog", True),
        ({"text": "end", "first_n": 5}, "begin and end", False),
        ({"text": "end", "last_n": 5}, "begin and end", True),
        ({"text": "a long phrase"}, " ", False),
        ({"text": "it’s “so” – so"}, 'it\'s "so" - so', True),
    ],
)
def test_present_and_absent(fields: dict[str, Any], page: str, passes: bool) -> None:
    assert run_check(check("present", **fields), page) is passes
    assert run_check(check("absent", **fields), page) is not passes


def test_order() -> None:
    page = "first things first, then the second, and first again"
    assert run_check(check("order", before="first", after="second"), page)
    assert run_check(check("order", before="second", after="first"), page), "any of the places"
    assert not run_check(check("order", before="again", after="second"), page)
    assert not run_check(check("order", before="third", after="second"), page)
    assert run_check(check("order", before="furst", after="sekond", max_diffs=1), page)


def test_match_starts_agrees_with_looking_everywhere() -> None:
    draw = random.Random(5)
    for _ in range(60):
        text = "".join(draw.choice("abc") for _ in range(24))
        pattern = "".join(draw.choice("abc") for _ in range(draw.randint(2, 6)))
        most = draw.randint(0, 2)
        expected = [
            start
            for start in range(len(text))
            if min(
                Levenshtein.distance(pattern, text[start:end])
                for end in range(start + 1, len(text) + 1)
            )
            <= most
        ]
        assert match_starts(pattern, text, most) == expected


TABLE = """
<table><thead><tr><th>Station</th><th colspan="2">Rain</th></tr></thead>
<tr><td rowspan="2">Pier</td><td>1204</td><td>1187</td></tr>
<tr><td>988</td><td>10&amp;12<br>mm</td></tr></table>
"""


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({"cell": "1204", "right": "1187", "left": "Pier", "down": "988"}, True),
        ({"cell": "988", "left": "Pier"}, True),
        ({"cell": "1187", "up": "Rain", "top_heading": "Rain"}, True),
        ({"cell": "988", "top_heading": "Rain", "left_heading": "Pier"}, True),
        ({"cell": "1187", "left": "Pier"}, False),
        ({"cell": "10&12 mm", "up": "1187"}, True),
        ({"cell": "1205", "right": "1187"}, False),
        ({"cell": "1205", "right": "1187", "max_diffs": 1}, True),
        ({"cell": "Rain", "down": "1187"}, True),
        ({"cell": "nowhere"}, False),
    ],
)
def test_table_relations(fields: dict[str, Any], passes: bool) -> None:
    assert run_check(check("table", **fields), TABLE) is passes


def test_markdown_tables_count_too() -> None:
    page = "text | with a bar\n\n| Name | Age |\n|---|:-:|\n| Ann | 41 |\n| Bo | 7 |\n\nend"
    (table,) = find_tables(page)
    assert (table.num_rows, table.num_columns) == (3, 2)
    assert run_check(check("table", cell="41", left="Ann", top_heading="Age", down="7"), page)
    assert not run_check(check("table", cell="41", top_heading="Name"), page)


HEADLESS = """<table><tr><td>Rain</td><td>1204</td></tr><tr><td>Snow</td><td>1187</td></tr>
<tr><td>Hail</td><td>988</td></tr></table>"""


def test_the_outermost_cell_heads_where_none_is_marked() -> None:
    assert run_check(check("table", cell="988", top_heading="1204", left_heading="Hail"), HEADLESS)
    assert not run_check(check("table", cell="988", top_heading="1187"), HEADLESS)
    marked = HEADLESS.replace("<td>1187</td>", "<th>1187</th>")
    assert run_check(check("table", cell="988", top_heading="1187"), marked)


def test_a_missing_cell_is_looked_over() -> None:
    ragged = (
        "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr><tr><td>d</td><td>e</td></table>"
    )
    assert run_check(check("table", cell="e", up="b"), ragged)


def test_broken_tables_do_not_break_the_reader() -> None:
    page = '<table><tr><td rowspan="99999">a<td colspan="x">b</table><td>c</td></tr></table>'
    (table,) = find_tables(page)
    assert table.cells[0, 0] == "a"
    assert table.cells[0, 1] == "b"


def test_distances() -> None:
    assert error_rate("abcd", "abxd") == 0.25
    assert error_rate("ab", "abcdef") == 2.0
    assert error_rate("abcd", "abcd") == 0
    assert error_rate("abcd", "") == 1
    assert error_rate("", "ab") == 2
    assert edit_distance("abcd", "") == 1.0
    assert (
        plain("# Head\n\n<table><tr><td>a &lt; b</td></tr></table>\n<!-- image 1 -->")
        == "Head a < b"
    )
    assert normalize("__so__ *it* goes") == "so it goes"


def write_jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


ROW = {"pdf": "page.png", "page": 1, "id": "p1", "type": "present", "text": "scripted words"}


def test_unknown_types_are_counted(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "c.jsonl", ROW, {**ROW, "type": "math", "math": "x"}, "")
    loaded = load_checks(path)
    assert len(loaded.checks) == 1
    assert loaded.ignored == {"math": 1}


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("{no json", "no check"),
        ({**ROW, "page": 0}, "no check"),
        ({**ROW, "text": " "}, "needs 'text'"),
        ({**ROW, "type": "order", "before": "a"}, "needs 'after'"),
        ('["a list"]', "no check"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, row: Any, what: str) -> None:
    path = write_jsonl(tmp_path / "c.jsonl", ROW, row)
    with pytest.raises(InvalidInput, match=what) as raised:
        load_checks(path)
    assert ":2" in str(raised.value)


def test_documents_are_looked_up_not_joined_to_a_path(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    Image.new("RGB", (50, 50)).save(tmp_path / "page.png")
    path = write_jsonl(tmp_path / "inner" / "c.jsonl", {**ROW, "pdf": "../page.png"})
    with pytest.raises(InvalidInput, match="is not in"):
        load_set([path], None, None)


async def test_a_run_counts_by_type_and_reads_each_page_once(tmp_path: Path) -> None:
    Image.new("RGB", (50, 50)).save(tmp_path / "page.png")
    (tmp_path / "page.txt").write_text("scripted words")
    path = write_jsonl(
        tmp_path / "c.jsonl",
        ROW,
        {**ROW, "id": "p2", "text": "other words"},
        {**ROW, "id": "a1", "type": "absent", "text": "footer"},
    )
    engine = ScriptedEngine(Script(default=Reply(text="scripted words")))
    score = await evaluate(engine, load_set([path], None, None), make_job(), Settings())
    assert engine.started == 1
    assert (score.passed["present"], score.total["present"]) == (1, 2)
    assert (score.passed["absent"], score.total["absent"]) == (1, 1)
    assert score.failed_checks == ("p2",)
    assert score.error_rate == 0.0
    table = score_table([score])
    assert "1/2" in table
    assert "scripted" in table
    json.dumps(score_json([score]))


async def test_a_failed_page_fails_its_checks(tmp_path: Path) -> None:
    Image.new("RGB", (50, 50)).save(tmp_path / "page.png")
    path = write_jsonl(tmp_path / "c.jsonl", ROW)
    engine = ScriptedEngine(Script(default=Reply(error="out of ink")))
    score = await evaluate(engine, load_set([path], None, None), make_job(), Settings())
    assert score.failed_pages == 1
    assert score.passed["present"] == 0
