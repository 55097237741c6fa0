"""Which folders count as a checkpoint, and the manifest of the published one."""

import hashlib
import json
from pathlib import Path
from typing import get_args

import pytest

from deepocr.errors import CheckpointError
from deepocr.settings import Settings
from deepocr.weights.folder import check_folder
from deepocr.weights.manifest import (
    FileEntry,
    Manifest,
    load_manifest,
    manifest_problems,
    unfold_name,
)
from tests.unit.weights_samples import (
    MANIFEST,
    SHARD,
    checkpoint_files,
    shard_bytes,
    write_files,
)


def test_the_published_manifest_has_every_tensor() -> None:
    manifest = load_manifest()
    assert manifest.name == "DeepSeek-OCR"
    assert len(manifest.shapes) == 2710
    assert manifest.weight_bytes == 2 * 3_336_106_240
    assert manifest.shapes["model.layers.11.mlp.experts.63.down_proj.weight"] == (1280, 896)
    assert "model.layers.0.mlp.experts.0.up_proj.weight" not in manifest.shapes
    assert manifest.shapes["model.sam_model.blocks.2.attn.rel_pos_h"] == (127, 64)
    assert manifest.shapes["model.sam_model.blocks.3.attn.rel_pos_h"] == (27, 64)


def test_a_manifest_is_found_by_the_repositorys_name() -> None:
    for repo in ("deepseek-ai/DeepSeek-OCR", "someone/deepseek-ocr", "someone/mirror", "../../x"):
        assert load_manifest(repo).repo == "deepseek-ai/DeepSeek-OCR"


def test_every_model_has_a_manifest() -> None:
    """By DEEPOCR_MODEL, or by the repository's name, whatever the model."""
    for model in get_args(Settings.model_fields["model"].annotation):
        manifest = load_manifest(model=model)
        assert manifest.name.lower() == model
        assert manifest.weight_bytes > 6_000_000_000
        assert load_manifest("someone/mirror", model) == manifest
        assert load_manifest(f"someone/{manifest.name}") == manifest


def test_a_manifest_without_tensors_takes_any_and_wants_one_file(tmp_path: Path) -> None:
    files = {name: entry for name, entry in MANIFEST.files.items() if "safetensors" not in name}
    loose = MANIFEST.model_copy(
        update={"tensors": {}, "files": {**files, "model*.safetensors": FileEntry()}}
    )
    write_files(tmp_path, checkpoint_files())
    assert manifest_problems(tmp_path, loose) == []
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()
    assert "model*.safetensors is missing" in manifest_problems(tmp_path, loose)


def test_folded_names() -> None:
    assert unfold_name("a.b") == ["a.b"]
    assert unfold_name("a.{2-3}.b.{0-1}") == ["a.2.b.0", "a.2.b.1", "a.3.b.0", "a.3.b.1"]


def test_whole_download_has_no_problems(tmp_path: Path) -> None:
    assert manifest_problems(write_files(tmp_path, checkpoint_files()), MANIFEST) == []


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("config.json", None, "config.json is missing"),
        (SHARD, None, f"{SHARD} is missing"),
        ("tokenizer.json", b'{"model": {"vo', "not readable JSON"),
        (SHARD, b"<html>404</html>" * 20, "is damaged"),
        (SHARD, shard_bytes({"lm_head.weight": (500, 32)}), "3 tensors missing: layers.0.weight"),
        (
            SHARD,
            shard_bytes({**MANIFEST.shapes, "extra": (1, 1)}),
            "1 tensors unexpected: extra",
        ),
        (
            SHARD,
            shard_bytes({**MANIFEST.shapes, "layers.1.weight": (32, 64)}),
            "layers.1.weight is BF16 [32, 64], not BF16 [64, 32]",
        ),
        (SHARD, shard_bytes(dict(MANIFEST.shapes), "F32"), "4 tensors of another shape or type"),
        (
            "model.safetensors.index.json",
            json.dumps({"weight_map": {"x": "other.safetensors"}}).encode(),
            "other.safetensors is missing",
        ),
    ],
)
def test_manifest_names_what_is_wrong(
    tmp_path: Path, name: str, data: bytes | None, said: str
) -> None:
    folder = write_files(tmp_path, checkpoint_files())
    if data is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(data)
    assert said in "; ".join(manifest_problems(folder, MANIFEST))


def test_one_byte_less_is_seen(tmp_path: Path) -> None:
    files = checkpoint_files()
    files[SHARD] = files[SHARD][:-1]
    assert manifest_problems(write_files(tmp_path, files), MANIFEST)


def test_size_and_hash_are_held_where_known(tmp_path: Path) -> None:
    files = checkpoint_files()
    folder = write_files(tmp_path, files)
    right = hashlib.sha256(files["config.json"]).hexdigest()

    def with_entry(**entry: object) -> Manifest:
        described = MANIFEST.model_dump()
        described["files"]["config.json"] = entry
        return Manifest.model_validate(described)

    size = len(files["config.json"])
    assert manifest_problems(folder, with_entry(sha256=right, size=size)) == []
    assert "SHA-256" in manifest_problems(folder, with_entry(sha256="0" * 64))[0]
    assert f"not {size + 1}" in manifest_problems(folder, with_entry(size=size + 1))[0]


def test_a_link_is_no_file(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "a", checkpoint_files())
    (folder / "config.json").rename(tmp_path / "elsewhere.json")
    (folder / "config.json").symlink_to(tmp_path / "elsewhere.json")
    assert manifest_problems(folder, MANIFEST) == ["config.json is missing"]


def small_checkpoint(**shards: bytes) -> dict[str, bytes]:
    """Another model's sizes and names: what a fine-tune put there by hand may look like."""
    return {"config.json": b"{}", "tokenizer.json": b"{}"} | {
        name + ".safetensors": data for name, data in shards.items()
    }


def test_hand_put_folders_that_count(tmp_path: Path) -> None:
    one, two = shard_bytes({"a": (2, 2)}, "F32"), shard_bytes({"b": (3, 1)})
    check_folder(write_files(tmp_path / "one", small_checkpoint(model_8bit=one)))
    # an unrelated safetensors file beside the well-known name is no shard
    check_folder(write_files(tmp_path / "named", small_checkpoint(model=one, other=two)))
    sharded = small_checkpoint(s1=one, s2=two)
    weight_map = {"a": "s1.safetensors", "b": "s2.safetensors"}
    sharded["model.safetensors.index.json"] = json.dumps({"weight_map": weight_map}).encode()
    check_folder(write_files(tmp_path / "sharded", sharded))


def indexed(weight_map: object) -> dict[str, bytes]:
    files = small_checkpoint(s1=shard_bytes({"a": (2, 2)}))
    return files | {"model.safetensors.index.json": json.dumps({"weight_map": weight_map}).encode()}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"config.json": b"{}"}, "tokenizer.json is missing; no model*.safetensors"),
        (small_checkpoint(model=shard_bytes({"a": (9, 9)})[:-5]), "is damaged"),
        (small_checkpoint(model=b""), "(0 bytes) is damaged"),
        (small_checkpoint(model_a=shard_bytes({"a": (1, 1)}), model_b=b"x"), "shards without"),
        (
            small_checkpoint(**{"model-00001-of-00002": shard_bytes({"a": (1, 1)})}),
            "shards without",
        ),
        (small_checkpoint(other=shard_bytes({"a": (1, 1)})), "no model*.safetensors"),
        (indexed({"a": "s1.safetensors", "b": "s2.safetensors"}), "s2.safetensors is missing"),
        (indexed({"a": "s1.safetensors", "b": "s1.safetensors"}), "lacks 1 tensors of its index"),
        (indexed({"a": "../s1.safetensors"}), "'../s1.safetensors'"),
        (indexed(["a"]), "has no weight_map"),
        (small_checkpoint(model=shard_bytes({"a": (1, 1)})) | {"config.json": b"[]"}, "object"),
        (
            small_checkpoint(model=shard_bytes({"a": (1, 1)})) | {"config.json": b"[" * 200_000},
            "config.json is not readable JSON",
        ),
    ],
)
def test_hand_put_folders_that_do_not(tmp_path: Path, files: dict[str, bytes], said: str) -> None:
    folder = write_files(tmp_path / "checkpoint", files)
    with pytest.raises(CheckpointError) as caught:
        check_folder(folder)
    assert said in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "move it away" in str(caught.value)
