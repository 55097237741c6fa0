"""Whether a folder holds a whole checkpoint, judged by the files themselves.

A checkpoint that was put there by hand may be a fine-tune, in other shapes, types or shards than
the published one. So it is held against its own headers and index, never against a manifest.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from deepocr.errors import CheckpointError

INDEX_NAME = "model.safetensors.index.json"
NEEDED_JSON = ("config.json", "tokenizer.json")

MAX_LISTED = 20
"""Names listed of each kind of fault; the count is always given."""

Tensor = tuple[str, tuple[int, ...]]
"""Type as safetensors writes it, such as BF16, and shape."""


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
        for path, promised in weight_files(folder).items():
            missing = promised - tensors_in(path).keys()
            if missing:
                problems.append(
                    f"{path.name} lacks {len(missing)} tensors of its index, such as {min(missing)}"
                )
    except CheckpointError as error:
        problems.append(str(error))
    if problems:
        raise CheckpointError(
            f"{folder} is not a whole checkpoint: {'; '.join(problems)}. "
            "Complete it, or move it away so that the published weights can be downloaded"
        )


def weight_files(folder: Path) -> dict[Path, set[str]]:
    """The safetensors files of a checkpoint, each with the tensors that the index says it has.

    Those of the index, or the only one there is. Raises CheckpointError when there is none, or no
    telling which.
    """
    index = folder / INDEX_NAME
    if index.exists():
        files: dict[Path, set[str]] = {}
        for tensor, name in sorted(read_weight_map(index).items()):
            files.setdefault(folder / name, set()).add(tensor)
        return dict(sorted(files.items()))
    if (folder / "model.safetensors").exists():
        return {folder / "model.safetensors": set()}
    found = sorted(folder.glob("model*.safetensors"))
    if not found:
        raise CheckpointError("no model*.safetensors")
    shards = re.search(r"-of-(\d+)$", found[0].stem)
    if len(found) > 1 or (shards and int(shards[1]) > 1):
        names_found = ", ".join(path.name for path in found[:4])
        raise CheckpointError(f"shards without {INDEX_NAME}: {names_found}")
    return {found[0]: set()}


def read_weight_map(index: Path) -> Mapping[str, str]:
    """Tensor name -> file name of a sharded checkpoint. Raises CheckpointError."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index.name} has no weight_map")
    for name in weight_map.values():
        # a name from a file must not lead out of the folder
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(f"{index.name} names {name!r}, which is no file of its folder")
    return weight_map


@contextmanager
def open_weights(path: Path) -> Iterator[Any]:
    """A memory-mapped safetensors file. Raises CheckpointError when it is missing, damaged, or
    shorter or longer than its header says."""
    if not path.is_file():
        raise CheckpointError(f"{path.name} is missing")
    try:
        with safe_open(path, framework="np") as file:
            yield file
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise CheckpointError(
            f"{path.name} ({size} bytes) is damaged or cut short: {error}; fetch it again"
        ) from error


def tensors_in(path: Path) -> dict[str, Tensor]:
    """What a safetensors file holds, from its header. Raises CheckpointError."""
    with open_weights(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {
            name: (str(part.get_dtype()), tuple(part.get_shape())) for name, part in slices.items()
        }


def stored_tensors(path: Path) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """The same, and the byte of the file at which each begins."""
    found = tensors_in(path)  # which holds the header against the file
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    return {name: (*found[name], 8 + size + header[name]["data_offsets"][0]) for name in found}


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Tensors, by name and what is told of them, that are missing, unexpected or other than they
    should be: a line for each kind."""
    kinds = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "of another shape or type": [
            f"{name} is {told}, not {expected[name]}"
            for name, told in found.items()
            if told != expected.get(name, told)
        ],
    }
    return [
        f"{len(names)} tensors {kind}: {listed(names)}" for kind, names in kinds.items() if names
    ]


def listed(names: list[str]) -> str:
    """The first of them, and how many more there are."""
    shown = ", ".join(names[:MAX_LISTED])
    return f"{shown} and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else shown


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError when it is missing, cut short or not an object."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.name} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.name} is not readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} is not a JSON object")
    return value
