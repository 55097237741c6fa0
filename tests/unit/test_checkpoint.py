"""Weights into the network, and every way in which they can be wrong."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from deepocr.engines.deepseek import checkpoint, loading, memory
from deepocr.engines.deepseek.checkpoint import (
    SafetensorsFolder,
    load_model,
    published_places,
)
from deepocr.engines.deepseek.config import read_config
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import plain_ops
from deepocr.engines.deepseek.start_report import StartReport
from deepocr.errors import CheckpointError
from deepocr.weights.folder import MAX_LISTED
from measure.stand_in_weights import stand_in, stand_in_weights
from tests.tiny_checkpoint import DATA

TINY = DATA / "tiny"
Tensors = dict[str, Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(TINY / name, tmp_path / name)
    return tmp_path


def load(
    folder: Path, dtype: torch.dtype = torch.float32, report: StartReport | None = None
) -> OcrModel:
    config, source = read_config(folder), SafetensorsFolder(folder)
    device = torch.device("cpu")
    return load_model(config, source, plain_ops(), device=device, dtype=dtype, report=report)


def change(folder: Path, edit: Callable[[Tensors], None]) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)


def test_every_value_lands_in_its_place() -> None:
    model, raw = load(TINY, torch.bfloat16), load_file(TINY / "model.safetensors")
    experts = model.get_parameter("decoder.layers.1.mlp.experts.gate_up_proj")
    assert experts.shape == (8, 64, 64)
    for expert in range(8):
        name = f"model.layers.1.mlp.experts.{expert}"
        assert torch.equal(experts[expert, :32], raw[f"{name}.gate_proj.weight"])
        assert torch.equal(experts[expert, 32:], raw[f"{name}.up_proj.weight"])
    qkv = model.get_parameter("decoder.layers.2.self_attn.qkv_proj.weight")
    parts = [raw[f"model.layers.2.self_attn.{part}_proj.weight"] for part in "qkv"]
    assert torch.equal(qkv, torch.cat(parts))
    filled = sum(place_size for place_size in map(len, map(torch.flatten, raw.values())))
    unused = raw["model.vision_model.embeddings.patch_embedding.weight"].numel()
    assert filled - unused == sum(parameter.numel() for parameter in model.parameters())


def test_published_names_and_shapes() -> None:
    """Every place is filled by exactly one published tensor."""
    raw = load_file(TINY / "model.safetensors")
    with torch.device("meta"):
        places = published_places(OcrModel(read_config(TINY), plain_ops()))
    assert set(raw) - set(places) == checkpoint.UNUSED
    assert set(places) <= set(raw)
    assert all(tuple(raw[name].shape) == place.shape for name, place in places.items())


def test_types() -> None:
    model = load(TINY, torch.bfloat16)
    kinds = {name: parameter.dtype for name, parameter in model.named_parameters()}
    wide = {name for name, kind in kinds.items() if kind == torch.float32}
    # the router decides between experts, so it stays exact
    assert wide == {f"decoder.layers.{layer}.mlp.gate.weight" for layer in (1, 2)}
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_shards_with_an_index(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"model-00001-of-000002.safetensors": names[::2]}
    shards["model-00002-of-000002.safetensors"] = names[1::2]
    for shard, part in shards.items():
        save_file({name: tensors[name] for name in part}, folder / shard)
    weight_map = {name: shard for shard, part in shards.items() for name in part}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    loaded, whole = load(folder), load(TINY)
    for (name, ours), theirs in zip(loaded.named_parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs), name

    (folder / "model-00002-of-000002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-000002\.safetensors is missing"):
        load(folder)


def test_a_shard_without_an_index(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-000001.safetensors")
    load(folder)


def test_everything_wrong_is_named_in_one_error(folder: Path) -> None:
    def edit(tensors: Tensors) -> None:
        del tensors["model.norm.weight"], tensors["model.layers.1.mlp.experts.3.up_proj.weight"]
        tensors["model.surprise"] = torch.zeros(1)
        tensors["lm_head.weight"] = torch.zeros(10, 64)

    change(folder, edit)
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    message = str(caught.value)
    assert "2 tensors missing" in message
    assert "model.norm.weight" in message
    assert "model.layers.1.mlp.experts.3.up_proj.weight" in message
    assert "1 tensors unexpected: model.surprise" in message
    assert (
        "1 tensors of another shape or type: lm_head.weight is [10, 64], not [1024, 64]" in message
    )


def test_long_lists_are_cut_and_counted(folder: Path) -> None:
    def edit(tensors: Tensors) -> None:
        for name in [name for name in tensors if ".experts." in name]:
            del tensors[name]

    change(folder, edit)
    with pytest.raises(CheckpointError, match=f"48 tensors missing: .* and {48 - MAX_LISTED} more"):
        load(folder)


def test_weights_of_another_size(folder: Path) -> None:
    raw = json.loads((folder / "config.json").read_text())
    raw["language_config"]["n_routed_experts"] = 16
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match=r"48 tensors missing: .*2 tensors of another shape"):
        load(folder)


@pytest.mark.parametrize("keep", [0, 4, 100, 5000, -1])
def test_a_truncated_file(folder: Path, keep: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors \(\d+ bytes\) is damaged or cut short"
    ):
        load(folder)


def test_quantized_weights_are_not_taken_for_plain_ones(folder: Path) -> None:
    def edit(tensors: Tensors) -> None:
        tensors["lm_head.weight"] = torch.zeros(1024, 64, dtype=torch.int8)

    change(folder, edit)
    with pytest.raises(CheckpointError, match=r"lm_head\.weight is I8"):
        load(folder)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model"):
        SafetensorsFolder(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"weight_map": 3}', '{"weight_map": {}}'])
def test_a_damaged_index(folder: Path, content: str) -> None:
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError):
        load(folder)


def test_an_index_cannot_lead_out_of_its_folder(folder: Path) -> None:
    index = {"weight_map": {"lm_head.weight": "../../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="is no file of its folder"):
        SafetensorsFolder(folder)


def test_too_little_memory_is_said_before_loading(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "free_bytes", lambda device: 1_000_000)
    with pytest.raises(CheckpointError, match=r"need 0\.0 GB on cpu and 0\.0 GB are free"):
        load(folder)


def test_free_memory_heeds_the_containers_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 1000\ninactive_file 400\nactive_file 100\n")
    assert memory.free_bytes(torch.device("cpu")) == 2500
    (tmp_path / "memory.max").write_text("max\n")
    # other processes take and give back memory between the two looks
    free = memory.free_bytes(torch.device("cpu"))
    assert free == pytest.approx(memory.host_free_bytes(), rel=0.5)


def test_stand_in_weights_are_the_tiny_models() -> None:
    raw = load_file(TINY / "model.safetensors")
    source = stand_in_weights(read_config(TINY), gain=1.3)
    assert set(source.shapes()) == set(raw) - checkpoint.UNUSED
    for name, tensor in source.tensors():
        assert torch.equal(tensor, raw[name]), name
    assert torch.equal(stand_in("a.b", (3,), 1.0), stand_in("a.b", (3,), 2.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_larger_than_a_buffer_arrive_in_parts(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loading, "BUFFER_BYTES", 1000)
    monkeypatch.setattr(loading, "TELL_EVERY_S", 0.0)
    raw = load_file(TINY / "model.safetensors")
    report = StartReport()
    with caplog.at_level(logging.INFO):
        model = load(TINY, dtype, report)
    parameters = dict(model.named_parameters())
    for name, place in published_places(model).items():
        slot = place.slot(parameters[place.parameter])
        assert torch.equal(slot, raw[name].to(slot.dtype)), name
    assert {"read", "position tables"} <= set(report.seconds)
    assert any("GB/s" in record.message for record in caplog.records)


def test_values_of_the_same_type_need_no_memory_on_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file is in bf16; in the network the routers alone are not."""
    carried = []
    carry = loading.Buffer.carry

    def note(self: loading.Buffer, file: int, part: loading.Part, report: StartReport) -> None:
        carried.append(part.values.dtype)
        carry(self, file, part, report)

    monkeypatch.setattr(loading.Buffer, "carry", note)
    load(TINY, torch.bfloat16)
    assert carried == [torch.float32] * 2


def test_a_network_that_is_made_in_inference_mode(folder: Path) -> None:
    with torch.inference_mode():
        model = load(folder)
    assert torch.equal(model.image_newline, load(TINY).image_newline)


def test_a_file_that_shrinks_while_it_is_read(folder: Path) -> None:
    source = SafetensorsFolder(folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(2_000_000)
    with pytest.raises(CheckpointError, match="became shorter while it was read"):
        load_model(
            read_config(folder), source, plain_ops(),
            device=torch.device("cpu"), dtype=torch.bfloat16,
        )  # fmt: skip
