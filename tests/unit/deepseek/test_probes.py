"""What does not import, compile, run or agree is replaced by the plain version, and told."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from deepocr.engines.deepseek import engine
from deepocr.engines.deepseek.build import make_reader
from deepocr.engines.deepseek.graphs import GraphRunner
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import probes
from deepocr.engines.deepseek.ops.choice import FastOps, choose_ops, probed_ops
from deepocr.engines.deepseek.ops.operations import OPERATIONS
from deepocr.engines.deepseek.ops.probes import (
    PLAIN,
    Chosen,
    Operation,
    Scene,
    Version,
    choose,
    difference,
    read_forced,
)
from deepocr.engines.deepseek.start_report import StartReport
from deepocr.errors import EngineUnavailable, SettingsError
from deepocr.pipeline import read_page
from deepocr.settings import Settings
from deepocr.tasks import make_job
from deepocr.types import Page
from tests.tiny_checkpoint import make_tiny_checkpoint


class OddError(Exception):
    """As compilers and drivers have them: no RuntimeError."""


def double(x: Tensor) -> Tensor:
    return x * 2


def raising(error: Exception) -> Callable[..., Any]:
    def raises(*_: Any) -> Any:
        raise error

    return raises


def operation(*fast: Version) -> Operation:
    def samples(scene: Scene) -> list[tuple[Tensor]]:
        return [(scene.draw(4, 64),), (scene.draw(1, 64),)]

    return Operation("doubling", fast, Version(PLAIN, lambda: double), samples)


def version(run: Callable[..., Any], name: str = "fast") -> Version:
    return Version(name, lambda: run)


@pytest.fixture
def scene(tiny_model: OcrModel) -> Scene:
    return Scene(tiny_model.config, torch.device("cpu"), torch.bfloat16)


def chosen(scene: Scene, what: Operation, forced: str = "") -> tuple[Chosen, StartReport]:
    report = StartReport()
    found = choose([what], scene, {what.name: forced} if forced else {}, report)
    return found[what.name], report


def wrong_row(x: Tensor) -> Tensor:
    out = x * 2
    out[-1] *= 1.2
    return out


FAULTS = {
    "no package": Version("fast", raising(ImportError("No module named 'flash_attn'"))),
    "a broken package": Version("fast", raising(OSError("libcudart.so.11: cannot open"))),
    "no compiler": version(raising(OddError("gcc: not found"))),
    "no such card": version(raising(RuntimeError("no kernel image is available"))),
    "a bug": version(raising(AssertionError())),
    "wrong row": version(wrong_row),
    "no number": version(lambda x: x * float("nan")),
    "shape": version(lambda x: x[:1]),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_fails_is_replaced_and_told(
    scene: Scene, fault: Version, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found, report = chosen(scene, operation(fault))
    assert found.version.name == PLAIN
    assert found.run is double
    assert report.versions == {"doubling": PLAIN}
    assert report.notes["doubling"].startswith("plain, as fast fails: ")
    [line] = [record.message for record in caplog.records if "doubling=plain" in record.message]
    assert "\n" not in line


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_fails_and_was_forced_is_an_error(scene: Scene, fault: Version) -> None:
    with pytest.raises(EngineUnavailable, match="DEEPOCR_OPS wants doubling=fast"):
        chosen(scene, operation(fault), "fast")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_next_best_comes_before_the_plain_one(scene: Scene, fault: Version) -> None:
    found, report = chosen(scene, operation(fault, version(double, "other")))
    assert found.version.name == "other"
    assert report.notes["doubling"].startswith("other, as fast fails: ")


def test_what_works_is_taken_without_a_word(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    found, report = chosen(scene, operation(version(lambda x: x + x), version(double, "other")))
    assert (found.version.name, report.notes, caplog.records) == ("fast", {}, [])


def test_a_version_that_is_not_meant_for_a_scene_is_left_out(scene: Scene) -> None:
    unfit = replace(version(raising(OddError())), unfit=lambda scene: f"no {scene.dtype}")
    found, report = chosen(scene, operation(unfit, version(double, "other")))
    assert (found.version.name, report.notes) == ("other", {})
    with pytest.raises(EngineUnavailable, match=r"no torch\.bfloat16"):
        chosen(scene, operation(unfit), "fast")


def test_the_plain_one_can_be_forced(scene: Scene) -> None:
    found, report = chosen(scene, operation(version(double)), PLAIN)
    assert (found.version.name, report.notes) == (PLAIN, {})


def test_a_probe_that_breaks_the_device_says_what_to_leave_out(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "check_device", raising(RuntimeError("illegal memory access")))
    with pytest.raises(EngineUnavailable, match="start again with DEEPOCR_OPS=doubling=plain"):
        chosen(scene, operation(version(raising(RuntimeError("illegal memory access")))))


def test_a_probe_without_memory_is_no_fault_of_the_operation(scene: Scene) -> None:
    with pytest.raises(EngineUnavailable, match="ran out of memory"):
        chosen(scene, operation(version(raising(torch.OutOfMemoryError("CUDA out of memory")))))


def test_integers_may_not_differ_at_all() -> None:
    ids = torch.tensor([3, 1])
    assert difference(ids.int(), ids) == 0
    assert difference(ids + 1, ids) == float("inf")


def test_a_setting_names_operations_and_versions() -> None:
    known = {"one": ["fast", "plain"], "two": ["cuda", "plain"]}
    assert read_forced("", known) == {}
    assert read_forced("one=fast two=plain", known) == {"one": "fast", "two": "plain"}
    assert read_forced("all=plain one=fast", known) == {"one": "fast", "two": "plain"}
    with pytest.raises(SettingsError, match="no operation 'three'; it has: all, one, two"):
        read_forced("three=plain", known)
    with pytest.raises(SettingsError, match="one has no version 'cuda'; it has: fast, plain"):
        read_forced("one=cuda", known)


# the real table, here where no fast version works: there is no CUDA


def test_every_operation_has_samples_for_its_plain_version(scene: Scene) -> None:
    for each in OPERATIONS:
        plain = each.plain.make()
        probes.hold_against(plain, plain, each, replace(scene, dtype=torch.float32))


def test_without_a_device_everything_is_plain_and_told(scene: Scene) -> None:
    ops = probed_ops(scene)
    assert set(ops.report.versions.values()) == {PLAIN}
    assert set(ops.report.notes) == {*(each.name for each in OPERATIONS), "graphs"}
    assert not ops.graphs
    assert ops.report.seconds["probe"] > 0


def test_graphs_that_are_forced_need_operations_that_can_be_captured(scene: Scene) -> None:
    with pytest.raises(EngineUnavailable, match="graphs=cuda, and plain experts-few"):
        probed_ops(scene, "graphs=cuda")


def test_what_is_for_cuda_cannot_be_forced_without(tiny_model: OcrModel) -> None:
    with pytest.raises(SettingsError, match="no operation 'graphs'; it has: all, products"):
        choose_ops(tiny_model.config, torch.device("cpu"), torch.float32, "graphs=plain")


# graphs


def graph_ops(tiny_model: OcrModel, must_capture: bool = False) -> FastOps:
    ops = choose_ops(tiny_model.config, torch.device("cpu"), torch.float32)
    return replace(ops, graphs=True, must_capture=must_capture)


@pytest.mark.parametrize("error", [OddError("no"), RuntimeError("operation not permitted")])
async def test_a_capture_that_fails_runs_without_graphs(
    tiny_model: OcrModel, error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(GraphRunner, "capture", raising(error))
    ops = graph_ops(tiny_model)
    monkeypatch.setattr(engine, "choose_ops", lambda *_: ops)
    folder = make_tiny_checkpoint(tmp_path)
    started = engine.create(Settings(checkpoints=folder, device="cpu", dtype="fp32", batch=2))
    job = make_job("free", preset="tiny", max_new_tokens=3)
    result = await read_page(started, Page(1, Image.new("RGB", (64, 64))), job)
    await started.close()
    assert result.status != "failed"
    assert "graphs=plain, as their capture fails" in result.notes["operations"]


def test_a_forced_capture_that_fails_is_an_error(
    tiny_model: OcrModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GraphRunner, "capture", raising(OddError("no")))
    with pytest.raises(EngineUnavailable, match="graphs=cuda, and the capture fails"):
        make_reader(
            tiny_model, graph_ops(tiny_model, True), end_id=1, max_sequences=1, num_blocks=40
        )


def test_a_capture_that_works_keeps_its_graphs(
    tiny_model: OcrModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GraphRunner, "capture", lambda self: None)
    ops = graph_ops(tiny_model)
    reader = make_reader(tiny_model, ops, end_id=1, max_sequences=1, num_blocks=40)
    assert type(reader.runner) is GraphRunner
    assert ops.report.versions["graphs"] == "cuda"
    assert "capture" in ops.report.seconds
