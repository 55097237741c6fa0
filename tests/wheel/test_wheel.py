"""The package as people get it: a wheel in an empty environment, and the examples of the docs.

`make test-wheel` runs this; it needs a package index and two minutes.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from deepocr.verification.samples import SAMPLES

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
RUN = ("read", "check", "bench")
"""Words of the command whose examples in the README are run; the others serve, fetch gigabytes or
read for minutes."""


def run(*command: object, cwd: Path, given: Path | None = None, codes: Sequence[int] = (0,)) -> str:
    """Nothing of the checkout or of settings reaches it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DEEPOCR_")}
    kept.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=kept,
        stdin=given.open("rb") if given else subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build leaves folders behind, and takes what lies in old ones."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "deepocr", folder / "source" / "deepocr", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "-w",
        folder,
        "./source",
        cwd=folder,
    )
    (made,) = folder.glob("*.whl")
    return made


def ignored(_: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]


@pytest.fixture(scope="session")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment with deepocr[ppocr,books] by pip alone."""
    place = tmp_path_factory.mktemp("empty")
    run(sys.executable, "-m", "venv", place / "venv", cwd=place)
    found = place / "venv" / "bin"
    run(found / "pip", "install", "-q", f"{wheel}[ppocr,books]", cwd=place)
    return found


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with the files that examples name."""
    for name in ("report.pdf", "invoice.png"):
        shutil.copy(SAMPLES / name, tmp_path)
    shutil.copy(SAMPLES / "invoice.png", tmp_path / "page.png")
    shutil.copy(SAMPLES / "report.pdf", tmp_path / "book.pdf")
    return tmp_path


def test_what_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (place,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(place).decode()
    tracked = run("git", "ls-files", "deepocr", cwd=ROOT).split()
    assert set(tracked) - names == set()
    assert not [name for name in names if name.startswith(("tests", "measure", "scripts"))]
    assert sum(1 for name in names if name.endswith(".onnx")) == 1
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert all(f"Classifier: {line}\n" in metadata for line in project["classifiers"])


def test_the_environment_is_sound(bin_folder: Path, here: Path) -> None:
    run(bin_folder / "pip", "check", cwd=here)
    version = run(bin_folder / "deepocr", "--version", cwd=here)
    assert version == run(bin_folder / "python", "-m", "deepocr", "--version", cwd=here)
    installed = run(bin_folder / "pip", "list", "--format=freeze", cwd=here)
    assert version.split() == [
        "deepocr",
        re.findall(r"^deepocr==(.+)$", installed, re.MULTILINE)[0],
    ]
    assert len(re.findall(r"^opencv", installed, re.MULTILINE)) == 1
    assert "torch" not in installed


def test_the_whole_cpu_reader_reads(bin_folder: Path, here: Path) -> None:
    """Two commands from nothing to text; the layout model is at work."""
    text = run(bin_folder / "deepocr", "read", "report.pdf", cwd=here)
    assert "# A Year of Birds on the Mill Pond" in text
    assert "<table>" in text
    piped = run(bin_folder / "deepocr", "read", "-", cwd=here, given=here / "report.pdf")
    assert piped == text
    told = run(bin_folder / "deepocr", "verify", "--engine", "ppocr", "--task", "free", cwd=here)
    assert "sound: " in told
    code = (
        "from deepocr.engines.ppocr.engine import create; from deepocr.settings import Settings;"
        "print(create(Settings())._models.layout)"
    )
    assert "LayoutModel" in run(bin_folder / "python", "-c", code, cwd=here)


def test_a_type_checker_sees_the_types(bin_folder: Path, here: Path) -> None:
    (here / "user.py").write_text(
        "import deepocr\n"
        "with deepocr.Reader('ppocr') as reader:\n"
        "    reveal_type(reader.read('page.png').pages[0].regions)\n"
        "reader.read(7)\n"
    )
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--python-executable",
        bin_folder / "python",
        "user.py",
    ]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True)
    assert 'Revealed type is "tuple[deepocr.types.Region, ...]"' in done.stdout
    assert 'user.py:4: error: Argument 1 to "read" of "Reader" has incompatible type' in done.stdout
    assert "Found 1 error" in done.stdout


def test_examples_of_the_library(bin_folder: Path, here: Path) -> None:
    told = (ROOT / "docs" / "library.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```", told, re.DOTALL | re.MULTILINE)
    assert len(examples) == 6
    (here / "examples.py").write_text("\n".join(examples))
    said = run(bin_folder / "python", "examples.py", cwd=here)
    assert "A Year of Birds" in said
    assert "page 3 is ok" in said
    assert (here / "invoice.pdf").stat().st_size > 10_000


def test_examples_of_the_readme(bin_folder: Path, here: Path) -> None:
    (here / "scans").mkdir()
    shutil.copy(SAMPLES / "letter.jpg", here / "scans")
    shutil.copy(SAMPLES / "report.pdf", here / "YOUR.pdf")
    told = (ROOT / "README.md").read_text()
    (door,) = re.findall(r"^```python\n(import deepocr\n.*?)^```", told, re.DOTALL | re.MULTILINE)
    assert "A Year of Birds" in run(bin_folder / "python", "-c", door, cwd=here)
    lines = re.findall(rf"^(deepocr (?:{'|'.join(RUN)}) [^#\n]+)", told, re.MULTILINE)
    lines += re.findall(rf"`(deepocr (?:{'|'.join(RUN)}) [\w ./]+)`", told)
    assert len(lines) >= 4
    for line in lines:
        if "FILES" not in line:
            # 3: a check has findings
            run(bin_folder / "deepocr", *line.split()[1:], cwd=here, codes=(0, 3))
    assert (here / "out" / "letter" / "document.mmd").is_file()
