"""scripts/parity.py on folders of its own making: what is derived, and how a miss is told."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.errors import CheckpointError
from measure.parity.stages import (
    PlainImplementation,
    ban_of,
    listed_part,
    read_cases,
)
from tests.parity.conftest import TINY
from tests.tiny_checkpoint import DATA

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "parity.py"
CASE = "tiny_a4"

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """The script's `main` with arguments -> its exit status."""
    spec = importlib.util.spec_from_file_location("parity_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def call(*arguments: str | Path) -> int:
        monkeypatch.setattr(sys, "argv", ["parity.py", *map(str, arguments)])
        status: int = script.main()
        return status

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint with one case, pictures beside it."""
    shutil.copytree(TINY, tmp_path / "case", ignore=shutil.ignore_patterns("*_*.safetensors"))
    shutil.copyfile(TINY / f"{CASE}.safetensors", tmp_path / "case" / f"{CASE}.safetensors")
    shutil.copytree(DATA / "images", tmp_path / "images")
    rewrite(tmp_path / "case", lambda cases: [case for case in cases if case["name"] == CASE])
    return tmp_path / "case"


def rewrite(folder: Path, edit: Callable[[Any], Any]) -> None:
    file = folder / "cases.json"
    file.write_text(json.dumps(edit(json.loads(file.read_text()))))


def test_all_agree(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder) == 0
    assert "16 of 16 checks agree" in capsys.readouterr().out


def test_a_folder_reached_by_a_link(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link"
    link.symlink_to(folder)
    assert run(link) == 0


def test_a_wrong_token_is_a_miss(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def edit(cases: Any) -> Any:
        cases[0]["greedy"][5] += 1
        return cases

    rewrite(folder, edit)
    assert run(folder) == 1
    assert f"MISS {CASE} greedy: 5 same, wanted 64 tokens" in capsys.readouterr().out


def test_a_wrong_activation_is_a_miss(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / f"{CASE}.safetensors"
    tensors = load_file(file)
    tensors["global.sam"][0, 0, 0, 0] += 1
    tensors["from.nowhere"] = torch.zeros(3)
    save_file(tensors, file)
    assert run(folder) == 1
    out = capsys.readouterr().out
    assert f"MISS {CASE} global.sam" in out
    assert f"MISS {CASE} from.nowhere: nothing" in out
    assert "2 of" not in out.splitlines()[-1]


@pytest.mark.parametrize("missing", ["cases.json", f"{CASE}.safetensors", "config.json"])
def test_what_cannot_be_tried(run: Run, folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    assert run(folder) == 2


def test_a_missing_picture_is_named(folder: Path) -> None:
    (folder.parent / "images" / "a4.png").unlink()
    with pytest.raises(CheckpointError, match="no picture 'a4'"):
        read_cases(folder)


def test_stand_in_weights_and_the_short_form(
    run: Run, tmp_path: Path, tiny_fp32: OcrModel, capsys: pytest.CaptureFixture[str]
) -> None:
    """A case of our own: another picture, prompt and preset, every other channel listed."""
    folder = tmp_path / "cases"
    folder.mkdir()
    (tmp_path / "images").mkdir()
    with Image.open(DATA / "images" / "square.png") as image:
        image.crop((0, 0, 500, 300)).save(tmp_path / "images" / "part.png")
    raw: dict[str, Any] = {"greedy": {"small_part": []}, "image_token_id": 1001}
    raw["prompt_suffix_ids"] = [201, 5, 88]
    (folder / "cases.json").write_text(json.dumps(raw))
    [case] = read_cases(folder)
    implementation = PlainImplementation(tiny_fp32)
    views = case.views()
    prompt = case.prompt(views.num_slots)
    assert prompt.ids[:3] == (0, 1001, 1001)
    found = implementation.activations(views, prompt)
    listed = {
        "global.sam": found["global.sam"][:, ::2].contiguous(),
        "global.projected": found["global.projected"][:, ::4].contiguous(),
        "logits": found["logits"][-4:].contiguous(),
    }
    save_file(listed, folder / "small_part.safetensors")
    raw["greedy"]["small_part"] = implementation.greedy(views, prompt, ban_of("greedy", case), 16)
    (folder / "cases.json").write_text(json.dumps(raw))
    # the tiny model is made of stand-in weights with this gain
    given = ("--full", TINY / "config.json", "--cases", folder, "--gain", "1.3")
    assert run(*given, "--rope-rates", "fp32") == 0
    assert "4 of 4 checks agree" in capsys.readouterr().out
    # rounded rates are another network
    assert run(*given) == 1
    assert "MISS small_part logits" in capsys.readouterr().out


def test_listed_parts() -> None:
    whole = torch.arange(24.0).view(1, 6, 4)
    assert listed_part("global.sam", whole, (1, 3, 4)).tolist() == whole[:, ::2].tolist()
    assert listed_part("logits", whole[0], (2, 4)).tolist() == whole[0, -2:].tolist()
    for shape in [(1, 5, 4), (1, 12, 4), (6, 4)]:
        with pytest.raises(ValueError, match="shape"):
            listed_part("global.sam", whole, shape)
