"""The command `deepocr`: its words, and what each door to them says."""

import importlib
import json
import os
import runpy
import subprocess
import sys
import types
from pathlib import Path

import pytest

from deepocr import __version__
from deepocr.cli import COMMANDS, main
from deepocr.cli.bench import percentile

ROOT = Path(__file__).resolve().parents[2]


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_word_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: deepocr {name}" in capsys.readouterr().out
    assert callable(importlib.import_module(f"deepocr.cli.{name}").run)


def test_the_module_is_the_command() -> None:
    assert run("-m", "deepocr", "--version").stdout == f"deepocr {__version__}\n"


def test_help_imports_no_command() -> None:
    code = (
        "import sys\nfrom deepocr.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: sys.exit(any(name.startswith('deepocr.cli.') for name in sys.modules))"
    )
    assert run("-c", code).returncode == 0


@pytest.mark.parametrize(
    "script", ["ocr_pdf", "check", "verify", "evaluate", "download_weights", "serve"]
)
def test_scripts_are_doors_to_the_command(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(ROOT / "scripts" / f"{script}.py")
    monkeypatch.setattr(sys, "argv", [path, "--help"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(path, run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: deepocr ")


def test_what_a_command_misses_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "deepocr.cli.serve", types.ModuleType("serve"))
    module = sys.modules["deepocr.cli.serve"]
    monkeypatch.setattr(module, "add_arguments", lambda _: None, raising=False)
    for missing in ("uvicorn", "deepocr.nothing"):
        monkeypatch.setattr(
            module, "run", lambda _, name=missing: importlib.import_module(name), raising=False
        )
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises((SystemExit, ModuleNotFoundError)) as ended:
            main(["serve"])
        # a module of ours that is not there is a fault, no package to install
        assert isinstance(ended.value, SystemExit) == (missing == "uvicorn")
    assert "uvicorn is missing; pip install 'deepocr[service]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected"),
    [("deepocr ve", {"verify"}), ("deepocr read --searchable", {"--searchable-pdf"})],
)
def test_the_shell_completes(tmp_path: Path, line: str, expected: set[str]) -> None:
    said = tmp_path / "said"
    environment = {
        **{"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))},
        **{"_ARGCOMPLETE_STDOUT_FILENAME": str(said), "PYTHONPATH": str(ROOT)},
    }
    command = [sys.executable, "-m", "deepocr"]
    subprocess.run(command, env={**os.environ, **environment}, check=True)
    assert {word.strip() for word in said.read_text().split("\013")} == expected


def test_the_bench_counts_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"default": {"text": "x"}, "pages": {"2": {"error": "bad luck"}}}))
    monkeypatch.setenv("DEEPOCR_SCRIPT", str(script))
    assert main(["bench", "--engine", "scripted", "--rounds", "2", "--json"]) == 1
    figures = json.loads(capsys.readouterr().out)
    assert (figures["pages"], figures["failed"]) == (4, 2)
    assert 0 <= figures["p50_s"] <= figures["p99_s"]
    assert main(["bench", str(tmp_path / "nothing.pdf"), "--engine", "scripted"]) == 2
    assert "is no file" in capsys.readouterr().err
    assert [percentile(range(1, 101), percent) for percent in (50, 99)] == [50, 99]
