"""The command `deepocr`: its words, and what each door to them says."""

import importlib
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from deepocr import __version__
from deepocr.cli import COMMANDS, main

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
def test_scripts_are_doors_to_the_command(script: str) -> None:
    said = run(str(ROOT / "scripts" / f"{script}.py"), "--help")
    assert said.returncode == 0
    assert said.stdout.startswith("usage: deepocr ")


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
