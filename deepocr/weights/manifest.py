"""What a published checkpoint consists of, and whether a download is all of it.

A manifest, such as `deepseek-ocr.json` beside this file, is written from the published weight
index: every tensor's name and shape. Names are folded: `layers.{0-11}.weight` stands for twelve
tensors. Another model needs such a file, named after its repository, and no more.
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
from deepocr.weights.folder import Tensor, check_folder, differences, read_json, tensors_in

BYTES_PER_VALUE: Mapping[str, int] = {"BF16": 2, "F16": 2, "F32": 4}
DEFAULT = "deepseek-ocr"


class FileEntry(BaseModel):
    """One file of the checkpoint. `size` in bytes and `sha256` are checked where given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    required: bool = True
    size: int | None = None
    sha256: str | None = None


class Manifest(BaseModel):
    """A checkpoint's files and tensors. `tensors` maps folded names to shapes; where none are
    listed the network itself tells what does not fit. A file's name may be a pattern.

    `revision` on the model hub is the one to fetch, `url` a tar for pget. `num_bytes` is for
    manifests without tensors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: str
    dtype: str
    files: dict[str, FileEntry]
    tensors: dict[str, tuple[int, ...]] = {}
    revision: str = "main"
    url: str | None = None
    num_bytes: int = 0

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
        if not self.tensors:
            return self.num_bytes
        return BYTES_PER_VALUE[self.dtype] * sum(prod(shape) for shape in self.shapes.values())


def load_manifest(repo: str | None = None, model: str = DEFAULT) -> Manifest:
    """The manifest of a published model, by its repository's name, whoever owns the copy; that of
    `model` for any other name, as a mirror may be called anything."""
    known = {path.stem: path for path in Path(__file__).parent.glob("*.json")}
    path = known.get((repo or model).rsplit("/", 1)[-1].lower(), known[model])
    return Manifest.model_validate_json(path.read_bytes())


def unfold_name(folded: str) -> list[str]:
    """`a.{0-1}.b` -> `a.0.b`, `a.1.b`; several ranges give all combinations."""
    texts = re.split(r"\{\d+-\d+\}", folded)
    ranges = [
        range(int(first), int(last) + 1) for first, last in re.findall(r"\{(\d+)-(\d+)\}", folded)
    ]
    return [
        texts[0] + "".join(f"{n}{text}" for n, text in zip(numbers, texts[1:], strict=True))
        for numbers in itertools.product(*ranges)
    ]


def manifest_problems(folder: Path, manifest: Manifest) -> list[str]:
    """What keeps `folder` from being the manifest's checkpoint; empty when it is whole."""
    problems: list[str] = []
    tensors: dict[str, Tensor] = {}
    for name, entry in manifest.files.items():
        paths = plain_files(folder, name)
        if entry.required and not paths:
            problems.append(f"{name} is missing")
        for path in paths:
            try:
                check_file(path, entry)
                if path.suffix == ".safetensors":
                    tensors |= tensors_in(path)
            except CheckpointError as error:
                problems.append(str(error))
    if problems:
        return problems
    expected = {name: f"{manifest.dtype} {list(shape)}" for name, shape in manifest.shapes.items()}
    found = {name: f"{dtype} {list(shape)}" for name, (dtype, shape) in tensors.items()}
    problems = differences(expected, found) if expected else []
    try:
        # whatever the next start will ask, such as an index that fits its shards
        check_folder(folder)
    except CheckpointError as error:
        problems.append(str(error))
    return problems


def plain_files(folder: Path, pattern: str) -> list[Path]:
    """Files of this name or pattern; links, which may lead anywhere, are none."""
    found = sorted(folder.glob(pattern))
    return [path for path in found if path.is_file() and not path.is_symlink()]


def check_file(path: Path, entry: FileEntry) -> None:
    """Raises CheckpointError for a wrong size, a wrong SHA-256, or JSON that cannot be parsed."""
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        raise CheckpointError(f"{path.name} has {size} bytes, not {entry.size}")
    if entry.sha256 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != entry.sha256:
            raise CheckpointError(f"{path.name} has SHA-256 {found}, not {entry.sha256}")
    if path.suffix == ".json":
        read_json(path)
