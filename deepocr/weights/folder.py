"""Whether a folder holds a whole checkpoint, judged by the files themselves.

A checkpoint that was put there by hand may be a fine-tune, in other shapes, types or shards than
the published one. So it is held against its own headers and index, never against the manifest.
"""

import json
import re
import stat
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from deepocr.errors import CheckpointError

INDEX_NAME = "model.safetensors.index.json"
NEEDED_JSON = ("config.json", "tokenizer.json")


def check_folder(folder: Path) -> None:
    """Reads headers and the small files only, so it is cheap at every start.

    Raises CheckpointError naming everything that is missing, truncated or not what its name says.
    """
    problems: list[str] = []
    for name in NEEDED_JSON:
        try:
            read_json(folder / name)
        except CheckpointError as error:
            problems.append(str(error))
    try:
        check_weights(folder)
    except CheckpointError as error:
        problems.append(str(error))
    if problems:
        raise CheckpointError(
            f"{folder} is not a whole checkpoint: {'; '.join(problems)}. "
            "Complete it, or move it away so that the published weights can be downloaded"
        )


def check_weights(folder: Path) -> None:
    """Every shard is as long as its header says and holds what the index promises.

    Raises CheckpointError.
    """
    promised: dict[str, set[str]] = {}
    if (folder / INDEX_NAME).exists():
        for tensor, file_name in read_weight_map(folder / INDEX_NAME).items():
            promised.setdefault(file_name, set()).add(tensor)
    for path in weight_files(folder):
        missing = promised.get(path.name, set()) - tensors_in(path).keys()
        if missing:
            raise CheckpointError(
                f"{path.name} lacks {len(missing)} tensors of its index, such as {min(missing)}"
            )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint: those of its index, or the only one there is.

    Raises CheckpointError when there is none, or no telling which.
    """
    if (folder / INDEX_NAME).exists():
        names = sorted(set(read_weight_map(folder / INDEX_NAME).values()))
        return [folder / name for name in names]
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    found = sorted(folder.glob("model*.safetensors"))
    if not found:
        raise CheckpointError("no model*.safetensors")
    shards = re.search(r"-of-(\d+)$", found[0].stem)
    if len(found) > 1 or (shards and int(shards[1]) > 1):
        names_found = ", ".join(path.name for path in found[:4])
        raise CheckpointError(f"shards without {INDEX_NAME}: {names_found}")
    return found


def read_weight_map(index: Path) -> dict[str, str]:
    """Tensor name -> file name of a sharded checkpoint. Raises CheckpointError."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index.name} has no weight_map")
    for name in weight_map.values():
        # a name from a file must not lead out of the folder
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(f"{index.name} names {name!r}, which is no file of its folder")
    return weight_map


def tensors_in(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (type as safetensors writes it, such as BF16; shape), from the file's header.

    Raises CheckpointError when the file is missing, damaged, or shorter or longer than its header
    says.
    """
    if not path.is_file():
        raise CheckpointError(f"{path.name} is missing")
    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: (str(part.get_dtype()), tuple(part.get_shape()))
                for name, part in slices.items()
            }
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise CheckpointError(f"{path.name} ({size} bytes) is damaged: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError when it is missing, cut short or not an object."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.name} is missing") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} is not readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} is not a JSON object")
    return value


def is_plain_file(path: Path) -> bool:
    """A file itself, not a link: an unpacked archive may hold links to anywhere."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
