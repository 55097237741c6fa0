"""What the published checkpoint consists of, and whether a download is all of it.

`deepseek-ocr.json` beside this file was written from the published weight index: every tensor's
name and shape. Names are folded: `layers.{0-11}.weight` stands for twelve tensors.
"""

import hashlib
import itertools
import re
from collections.abc import Mapping
from functools import cached_property
from math import prod
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from deepocr.errors import CheckpointError
from deepocr.weights.folder import check_folder, is_plain_file, read_json, tensors_in

BYTES_PER_VALUE: Mapping[str, int] = {"BF16": 2, "F16": 2, "F32": 4}
MOST_NAMED = 5
"""How many tensors of one kind of mistake are named; the rest are counted."""

HASH_BLOCK_BYTES = 1 << 22


class FileEntry(BaseModel):
    """One file of the checkpoint. `size` in bytes and `sha256` are checked where given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    required: bool = True
    size: int | None = None
    sha256: str | None = None


class Manifest(BaseModel):
    """A checkpoint's files and tensors. `tensors` maps folded names to shapes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: str
    dtype: str
    files: dict[str, FileEntry]
    tensors: dict[str, tuple[int, ...]]

    @property
    def name(self) -> str:
        """The repository's name without its owner; the folder is called so."""
        return self.repo.rsplit("/", 1)[-1]

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Every tensor's full name and shape."""
        return {
            name: shape for folded, shape in self.tensors.items() for name in unfold_name(folded)
        }

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors, without the file's header."""
        return BYTES_PER_VALUE[self.dtype] * sum(prod(shape) for shape in self.shapes.values())


def load_manifest() -> Manifest:
    """The manifest of the published DeepSeek-OCR."""
    path = Path(__file__).with_name("deepseek-ocr.json")
    return Manifest.model_validate_json(path.read_bytes())


def unfold_name(folded: str) -> list[str]:
    """`a.{0-1}.b` -> `a.0.b`, `a.1.b`; several ranges give all combinations."""
    parts = re.split(r"\{(\d+)-(\d+)\}", folded)
    ranges = [
        range(int(first), int(last) + 1)
        for first, last in zip(parts[1::3], parts[2::3], strict=True)
    ]
    texts = parts[0::3]
    return [
        texts[0] + "".join(f"{n}{text}" for n, text in zip(numbers, texts[1:], strict=True))
        for numbers in itertools.product(*ranges)
    ]


def manifest_problems(folder: Path, manifest: Manifest) -> list[str]:
    """What keeps `folder` from being the manifest's checkpoint; empty when it is whole."""
    problems: list[str] = []
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    weights_readable = True
    for name, entry in manifest.files.items():
        path = folder / name
        if not is_plain_file(path):
            if entry.required:
                problems.append(f"{name} is missing")
            continue
        problem = file_problem(path, entry)
        if problem is None and path.suffix == ".safetensors":
            try:
                tensors |= tensors_in(path)
            except CheckpointError as error:
                problem, weights_readable = str(error), False
        if problem is not None:
            problems.append(problem)
    if weights_readable:
        problems += tensor_problems(tensors, manifest)
    if not problems:
        # last, whatever the next start will ask, such as an index that fits its shards
        try:
            check_folder(folder)
        except CheckpointError as error:
            problems.append(str(error))
    return problems


def file_problem(path: Path, entry: FileEntry) -> str | None:
    """A wrong size, a wrong SHA-256, or JSON that cannot be parsed."""
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        return f"{path.name} has {size} bytes, not {entry.size}"
    if entry.sha256 is not None and (found := sha256_of(path)) != entry.sha256:
        return f"{path.name} has SHA-256 {found}, not {entry.sha256}"
    if path.suffix == ".json":
        try:
            read_json(path)
        except CheckpointError as error:
            return str(error)
    return None


def tensor_problems(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]], manifest: Manifest
) -> list[str]:
    """Missing, unexpected, misshapen tensors and wrong types, a line for each kind."""
    shapes = manifest.shapes
    kinds = {
        "missing": [name for name in shapes if name not in tensors],
        "unexpected": [name for name in tensors if name not in shapes],
        "of another shape or type": [
            f"{name} {dtype} {list(shape)} (not {manifest.dtype} {list(shapes[name])})"
            for name, (dtype, shape) in tensors.items()
            if name in shapes and (dtype, shape) != (manifest.dtype, shapes[name])
        ],
    }
    return [
        f"{len(names)} tensors {kind}: {', '.join(names[:MOST_NAMED])}"
        + (", ..." if len(names) > MOST_NAMED else "")
        for kind, names in kinds.items()
        if names
    ]


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file of any size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
