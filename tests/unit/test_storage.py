"""Folders on a disk and in an object store, held to the same contract; the store is a real S3."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepocr.copies import COPIES, Copies
from deepocr.errors import DocumentTooLarge, StorageError, UnreadableDocument
from deepocr.storage import Folder, open_folder
from tests.s3 import s3_server


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "disk":
        return open_folder(str(tmp_path / "out"))
    bucket = request.getfixturevalue("bucket")
    return open_folder(f"{bucket}/{tmp_path.name}")


def test_a_file_is_there_whole_or_not_at_all(folder: Folder) -> None:
    assert folder.read("a/b.bin") is None
    assert folder.num_bytes("a/b.bin") is None
    folder.write("a/b.bin", b"first")
    folder.write("a/b.bin", b"second")
    assert folder.read("a/b.bin") == b"second"
    assert folder.num_bytes("a/b.bin") == 6
    writing = folder.writing("a/half.bin")
    writing.__enter__().write(b"half")
    assert not writing.__exit__(RuntimeError, RuntimeError(), None)
    assert folder.names("a") == ["a/b.bin"]
    folder.delete("a/b.bin")
    folder.delete("a/b.bin")
    assert folder.names("a") == []


def test_names_are_those_right_inside_and_new_ones_are_seen_at_once(folder: Folder) -> None:
    assert folder.names("x") == []
    for name in ("x/2.parquet", "x/1.parquet", "x/1.txt", "x/below/3.parquet"):
        folder.write(name, b"-")
        assert name in folder.names(name.rpartition("/")[0])
    assert folder.names("x", "*.parquet") == ["x/1.parquet", "x/2.parquet"]
    assert folder.below("x").read("below/3.parquet") == b"-"


def test_what_a_disk_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be read or written"):
        open_folder(str(tmp_path / "file")).write("a", b"")


def test_a_store_without_its_package_is_told() -> None:
    with pytest.raises(StorageError, match="install"):
        open_folder("nostore://bucket/folder")


def test_copies_are_shared_and_bounded(bucket: str, tmp_path: Path) -> None:
    store = open_folder(f"{bucket}/copies")
    for name in "abc":
        store.write(name, name.encode() * 100)
    copies = Copies(max_bytes=100, keep_bytes=150)
    with copies.copy(f"{bucket}/copies/a") as first, copies.copy(f"{bucket}/copies/a") as second:
        assert first == second
        assert first.read_bytes() == b"a" * 100
        with copies.copy(f"{bucket}/copies/b") as other:
            assert other.exists()  # over the bound, and in use
        assert not other.exists()
        assert first.exists()
    assert first.exists()  # kept for who comes next
    with copies.copy(f"{bucket}/copies/c"):
        assert not first.exists()
    store.write("large", b"-" * 101)
    with pytest.raises(DocumentTooLarge, match="101 bytes"), copies.copy(f"{bucket}/copies/large"):
        pass
    with pytest.raises(UnreadableDocument, match="not there"), copies.copy(f"{bucket}/copies/no"):
        pass
    copies.close()
    here = tmp_path / "here"
    with Copies(max_bytes=1).copy(str(here)) as path:
        assert path == here  # what lies on a disk is used where it is


def test_copies_of_a_dead_process_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead, alive = tmp_path / f"{COPIES}4194999-x", tmp_path / f"{COPIES}{os.getpid()}-x"
    for path in (dead, alive):
        path.mkdir()
    Copies(max_bytes=1).close()
    assert not dead.exists()
    assert alive.exists()
