"""`deepocr verify` calls a working installation sound and a broken one broken."""

import json
from collections.abc import Sequence
from pathlib import Path

import pymupdf
import pytest

from deepocr.cli import main
from deepocr.engines.base import Capabilities
from deepocr.errors import InvalidInput
from deepocr.tasks import PRESETS, TASKS
from deepocr.types import Box, PageResult, Region, Word
from deepocr.verification.checks import Trial, fits, judge, plan
from deepocr.verification.samples import Sample, find_phrase, load_samples
from deepocr.verification.text import plain

LINES = ("Fresh bread daily", "The oven is hot from five.", "Rye, oat and spelt loaves")


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A folder with one small PDF of two pages and its text."""
    folder = tmp_path / "samples"
    folder.mkdir()
    with pymupdf.open() as document:
        for _ in range(2):
            page = document.new_page(width=360, height=240)
            for number, line in enumerate(LINES):
                page.insert_text((40, 60 + 50 * number), line, fontsize=20)
        document.save(folder / "bakery.pdf")
    page_text = "\n".join(LINES) + "\n\n<--- Page Split --->\n\n"
    (folder / "bakery.txt").write_text(page_text * 2)
    (folder / "notes.md").write_text("no text beside it, so it is no sample")
    return folder


def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **reply: object) -> None:
    """The scripted engine answers this for every page."""
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"default": reply}))
    monkeypatch.setenv("DEEPOCR_SCRIPT", str(path))


def written(text: str, box: tuple[int, int, int, int] = (100, 150, 600, 260)) -> str:
    """As the model writes it; the default box lies on the first line of the sample."""
    return f"<|ref|>text<|/ref|><|det|>[[{', '.join(map(str, box))}]]<|/det|>\n{text}\n"


def run(samples: Path, *more: str, engine: str = "scripted") -> int:
    return main(["verify", "--engine", engine, "--samples", str(samples), *more])


def test_sound_with_every_task_and_preset(
    samples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script(tmp_path, monkeypatch, text=written("\n".join(LINES)))
    report = tmp_path / "report.json"
    assert run(samples, "--json", str(report)) == 0
    rows = json.loads(report.read_bytes())
    assert {(row["task"], row["preset"]) for row in rows} == {
        (t, p) for t in TASKS for p in PRESETS
    }
    read = [row for row in rows if row["task"] == "Free OCR"]
    assert [row["error_rate"] for row in read] == [0.0] * len(PRESETS)
    assert all(row["pages"] == 2 and row["output_tokens"] > 0 for row in read)
    assert all(row["peak_bytes"]["ram"] > 1 << 20 and row["seconds"] > 0 for row in rows)
    said = capsys.readouterr().out
    assert f"sound: {len(TASKS) * len(PRESETS)} checks passed" in said
    assert "CER" in said


@pytest.mark.parametrize(
    ("reply", "task", "said"),
    [
        ({"text": written("zzzz qqqq " * 9)}, "free", "character error rate"),
        ({"text": written("\n".join(LINES)), "finish_reason": "length"}, "free", "is truncated"),
        ({"text": written("x"), "error": "out of luck"}, "figure", "is failed: out of luck"),
        ({"text": ""}, "describe", "page 2 has no text"),
        ({"text": "\n".join(LINES)}, "boxes", "page 1 has no boxes"),
        ({"text": written("Fresh", (700, 800, 900, 900))}, "locate", "'Fresh bread daily' stands"),
    ],
)
def test_unsound(
    samples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reply: dict[str, object],
    task: str,
    said: str,
) -> None:
    script(tmp_path, monkeypatch, **reply)
    monkeypatch.setattr("deepocr.cli.verify.warm_up", no_warm_up)
    assert run(samples, "--task", task, "--resolution", "base") == 1
    out = capsys.readouterr().out
    assert said in out
    assert "NOT SOUND: 1 of 1 checks failed" in out


def test_what_runs_slower_than_it_could_is_told(
    samples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"notes": {"graphs": "plain, as their capture fails"}}))
    monkeypatch.setenv("DEEPOCR_SCRIPT", str(path))
    run(samples, "--task", "free", "--resolution", "base")
    assert "graphs: plain, as their capture fails" in capsys.readouterr().out


async def no_warm_up(engine: object) -> None:
    pass


def test_engine_that_cannot_be_had(
    samples: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEEPOCR_SCRIPT", "/nowhere/script.json")
    assert run(samples) == 2
    assert "verify: script /nowhere/script.json cannot be used" in capsys.readouterr().err


def test_folder_without_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 2
    assert "no samples in" in capsys.readouterr().err
    with pytest.raises(InvalidInput):
        load_samples(tmp_path)


def test_ppocr_on_a_real_page(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rapidocr", reason="the ppocr extra is not installed")
    tasks = [word for slug in ("free", "locate") for word in ("--task", slug)]
    code = run(samples, *tasks, "--resolution", "base", engine="ppocr")
    assert (code, "sound: 2 checks passed" in capsys.readouterr().out) == (0, True)


def test_the_cpu_reader_is_sound_on_the_samples(tmp_path: Path) -> None:
    """What `make verify ENGINE=ppocr` does."""
    pytest.importorskip("rapidocr", reason="the ppocr extra is not installed")
    report = tmp_path / "report.json"
    assert main(["verify", "--engine", "ppocr", "--json", str(report)]) == 0
    rows = json.loads(report.read_bytes())
    assert len(rows) == 10
    # far within the bounds, which are for any engine
    assert max(row["error_rate"] or 0 for row in rows) < 0.1


def test_an_engine_without_presets_reads_once(samples: Path) -> None:
    capabilities = Capabilities(
        "x", frozenset({"Free OCR"}), True, False, True, presets=frozenset()
    )
    assert len(list(plan(load_samples(samples), capabilities))) == 1


def test_plain_text_has_no_marks() -> None:
    marked = (
        "# Head\n\n| a | b |\n|---|:--|\n| 1 | 2 |\n<table><tr><td>x</td><td>y</td></tr></table>\n"
        "**bold** \\(E = m\\) 5\\% <b>c</b>d &amp; ﬁne a|b 1 < 2"
    )
    assert plain(marked) == "Head a b 1 2 x y bold E = m 5% cd & fine a|b 1 < 2"


def test_phrase_is_found_in_the_text_layer() -> None:
    words = [Word(text, (10 * i, 5, 10 * i + 9, 15)) for i, text in enumerate("abacd")]
    assert find_phrase(words, "a c") == (20, 5, 39, 15)
    assert find_phrase(words, "c a") is None
    assert find_phrase(words, "") is None


@pytest.mark.parametrize(
    ("box", "right"),
    [
        ((100, 50, 300, 70), True),
        ((90, 45, 310, 80), True),
        ((100, 150, 300, 170), False),
        ((0, 0, 400, 120), True),
        ((0, 0, 1000, 120), False),
    ],
)
def test_boxes_that_fit_a_phrase(box: Box, right: bool) -> None:
    assert fits(box, (100, 50, 300, 70)) == right


def problems(sample_folder: Path, regions: Sequence[Region]) -> list[str]:
    (sample,) = load_samples(sample_folder)
    check = Trial(Sample(sample.path, sample.texts), "Convert to Markdown", "Base", (1,))
    page = PageResult(number=1, status="ok", size_px=(100, 100), regions=tuple(regions))
    return list(judge(check, [page], 0.0, None))


def test_a_box_beyond_the_page_is_a_problem(samples: Path) -> None:
    assert problems(samples, [Region("text", "a", ((0, 0, 100, 100),))]) == []
    assert "beyond its 100x100" in problems(samples, [Region("text", "a", ((0, 0, 101, 9),))])[0]


@pytest.mark.parametrize("member", ["DeepSeek-OCR", "DeepSeek-OCR-2", "Unlimited-OCR"])
def test_a_member_of_the_family_reads_the_samples(
    member: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its folder to the verdict; what weights of noise write is not sound."""
    pytest.importorskip("torch")
    from tests.small_family import small_checkpoint

    folder = small_checkpoint(member, tmp_path / "weights", context=320)
    for name, value in {"CHECKPOINTS": folder, "DEVICE": "cpu", "DTYPE": "fp32"}.items():
        monkeypatch.setenv(f"DEEPOCR_{name}", str(value))
    report = tmp_path / "report.json"
    wanted = ("--task", "markdown", "--resolution", "base")
    assert run(samples, *wanted, "--json", str(report), engine="deepseek") == 1
    [row] = json.loads(report.read_bytes())
    assert row["output_tokens"] > 20
    assert row["problems"]
    assert "failed" not in str(row["problems"])
