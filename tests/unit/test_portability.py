"""Other systems, simulated: what they lack is taken away before anything of ours is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from deepocr.machine import num_cores
from deepocr.verification.samples import SAMPLES

ROOT = Path(__file__).resolve().parents[2]

# libraries look at the platform too, and are real ones of this machine: they are loaded first
LOADED = """
import asyncio, ctypes, http.client, multiprocessing, os, platform, shutil, signal, subprocess
import sys, tempfile, urllib.request, uuid
import cv2, filelock, httpx, numpy, onnxruntime, PIL.Image, pydantic_settings, pymupdf, tqdm
"""
WINDOWS = f"""{LOADED}
sys.platform = "win32"
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("sched_getaffinity", "memfd_create", "getuid", "fork"):
    delattr(os, name)
"""
MAC = f"""{LOADED}
sys.platform = "darwin"
for name in ("sched_getaffinity", "memfd_create"):
    delattr(os, name)
"""


def run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "system", [WINDOWS, pytest.param(MAC, marks=pytest.mark.slow)], ids=["windows", "mac"]
)
def test_the_cpu_reader_reads_elsewhere(system: str, tmp_path: Path) -> None:
    pytest.importorskip("rapidocr", reason="the ppocr extra is not installed")
    code = f"""{system}
import deepocr
with deepocr.Reader("ppocr", dpi=100) as reader:
    result = reader.read({str(SAMPLES / "invoice.png")!r})
    result.save_searchable_pdf({str(tmp_path / "out.pdf")!r})
print(result.markdown)
"""
    done = run(code)
    assert "Invoice 2041" in done.stdout, done.stderr
    assert (tmp_path / "out.pdf").stat().st_size > 1000
    told = "documents are opened in this process: on Windows" in done.stderr
    assert told == (system == WINDOWS)


@pytest.mark.parametrize(
    "system", [pytest.param(WINDOWS, marks=pytest.mark.slow), MAC], ids=["windows", "mac"]
)
def test_the_command_works_elsewhere(system: str, tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('{"default": {"text": "hello"}}')
    code = f"""{system}
os.environ["DEEPOCR_SCRIPT"] = {str(script)!r}
from deepocr.cli import main
sys.exit(main(sys.argv[1:]))
"""
    options = ("--engine", "scripted", "--no-check", "-o", str(tmp_path / "out"))
    done = run(code, "read", str(SAMPLES / "report.pdf"), "--searchable-pdf", *options)
    assert done.returncode == 0, done.stderr
    assert "3 pages: 3 ok" in done.stdout
    assert (tmp_path / "out" / "report" / "searchable.pdf").exists()


@pytest.mark.slow
@pytest.mark.parametrize("system", [WINDOWS, MAC], ids=["windows", "mac"])
def test_what_each_module_imports_is_there(system: str) -> None:
    """All but what runs on a server, and what stands on libraries that would have to be others'
    builds there."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / "deepocr").rglob("*.py"))
    ]
    left_out = tuple(
        f"deepocr.{name}"
        for name in (
            *("service", "cli.serve", "documents.child", "corpus", "cli.corpus", "__main__"),
            *("engines.deepseek", "mcp_server", "cli.mcp"),
        )
    )
    wanted = [name for name in modules if not name.startswith(left_out)]
    code = f"{system}\nimport importlib\nfor name in {wanted!r}: importlib.import_module(name)"
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_what_does_not_run_there_says_so() -> None:
    done = run(f"{WINDOWS}\nfrom deepocr.cli import main\nmain(['serve', '--help'])")
    assert done.returncode == 2
    said = "deepocr: the service runs on Linux and macOS; on Windows use WSL or Docker\n"
    assert done.stderr.endswith(said)


def test_cores_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    assert num_cores() >= 1
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert num_cores() == 1


def test_a_device_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="the deepseek extra is not installed")
    from deepocr.engines.deepseek.build import choose_device
    from deepocr.errors import EngineUnavailable

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(EngineUnavailable, match=r"DEEPOCR_DEVICE=mps.*use auto or cpu"):
        choose_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("mps").type == "mps"
