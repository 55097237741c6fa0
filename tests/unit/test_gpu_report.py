"""The report of a GPU, tried where there is none: its one chance must not be lost to itself."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from deepocr.engines.deepseek.config import read_config
from measure.gpu_report.cold_start import published_form
from measure.gpu_report.command import NAMES, main
from measure.gpu_report.parts import PARTS
from measure.stand_in_model import PUBLISHED


def report(folder: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads((folder / "gpu_report.json").read_text())["parts"]
    return found


def test_every_part_has_a_name() -> None:
    assert tuple(PARTS) == NAMES


def test_a_part_that_fails_is_told_and_the_next_one_runs(tmp_path: Path) -> None:
    options = ["--device", "nowhere", "--only", "machine", "--only", "tests"]
    assert main([*options, "--out", str(tmp_path)]) == 1
    parts = report(tmp_path)
    assert [part["outcome"] for part in parts.values()] == ["failed with status 1"] * 2
    text = (tmp_path / "gpu_report.md").read_text()
    assert text.count("nowhere") >= 2


def test_a_part_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = tmp_path / "hangs"
    hangs.write_text("#!/bin/sh\nsleep 600\n")
    hangs.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(hangs))
    options = ["--only", "machine", "--only", "probes", "--limit-s", "0.5"]
    assert main([*options, "--out", str(tmp_path)]) == 1
    parts = report(tmp_path)
    assert "when the time was up" in parts["machine"]["outcome"]
    assert parts["probes"]["outcome"] == "not run: the time was up"


def test_the_checkpoint_of_the_cold_start_has_the_published_form(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(published_form(PUBLISHED)))
    assert read_config(tmp_path) == PUBLISHED


@pytest.mark.slow
def test_the_whole_report_of_a_small_network(tmp_path: Path) -> None:
    assert main(["--tiny", "--device", "cpu", "--limit-s", "1500", "--out", str(tmp_path)]) == 0
    assert {part["outcome"] for part in report(tmp_path).values()} == {"ok"}
    text = (tmp_path / "gpu_report.md").read_text()
    for told in ("experts-few", "share of the byte floor", "nodes", "picture to first token"):
        assert told in text
