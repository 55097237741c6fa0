"""A checkpoint of a few bytes, its manifest, a tar of it and a stand-in for pget."""

import io
import json
import struct
import sys
import tarfile
from pathlib import Path

from deepocr.weights.manifest import Manifest

SHARD = "model-00001-of-000001.safetensors"

MANIFEST = Manifest.model_validate(
    {
        "repo": "owner/Fake",
        "dtype": "BF16",
        "files": {
            "config.json": {},
            "tokenizer.json": {},
            SHARD: {},
            "model.safetensors.index.json": {"required": False},
        },
        "tensors": {"layers.{0-2}.weight": (64, 32), "lm_head.weight": (500, 32)},
    }
)


def shard_bytes(shapes: dict[str, tuple[int, ...]], dtype: str = "BF16") -> bytes:
    """A safetensors file of zeros."""
    width = {"BF16": 2, "F32": 4}[dtype]
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + width * shape[0] * shape[1]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


def checkpoint_files() -> dict[str, bytes]:
    """What a whole download of MANIFEST brings, with a file nobody asked for."""
    return {
        "config.json": b'{"model_type": "deepseek_vl_v2"}',
        "tokenizer.json": b'{"model": {"vocab": {"a": 0}}}',
        SHARD: shard_bytes(dict(MANIFEST.shapes)),
        "modeling_fake.py": b"raise SystemExit('never run')",
    }


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def tar_bytes(files: dict[str, bytes], top: str = "") -> bytes:
    """The files as a tar, in the order given, below the folder `top`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(top + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


# As the real one: unpacks while it reads, straight into its destination; refuses one that exists;
# ends with 1 on failure. With FAKE_PGET_CARELESS it takes what it got for all there was.
PGET = f"""#!{sys.executable}
import os, sys, tarfile, urllib.request
flag, url, folder = sys.argv[1:]
assert flag == "-x"
if os.path.exists(folder):
    sys.exit("destination exists")
os.makedirs(folder)
try:
    with urllib.request.urlopen(url) as answer, tarfile.open(fileobj=answer, mode="r|") as archive:
        for member in archive:
            archive.extract(member, folder, filter="fully_trusted")
except Exception as error:
    if not os.environ.get("FAKE_PGET_CARELESS"):
        sys.exit(f"pget: {{error}}")
"""


def install_pget(folder: Path) -> Path:
    """A program named pget; returns the folder to put on PATH."""
    folder.mkdir()
    program = folder / "pget"
    program.write_text(PGET)
    program.chmod(0o755)
    return folder
