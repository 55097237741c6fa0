"""Sources to documents."""

from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from deepocr.corpus.listing import Entry, carried_schema, find_entries
from deepocr.errors import InvalidInput, StorageError


def documents(*sources: Path | str) -> list[str]:
    return [entry.document for entry in find_entries([str(source) for source in sources])]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.pdf", "a.PNG", "deep/c.tif", "deep/er/d.pdf", ".hidden.pdf", "notes.doc"):
        path = tmp_path / "scans" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "scans"


def test_a_folder_with_all_below_it_a_pattern_and_a_file(folder: Path) -> None:
    names = ["a.PNG", "b.pdf", "deep/c.tif", "deep/er/d.pdf"]
    assert documents(folder) == [str(folder / name) for name in names]
    assert documents(folder / "*.pdf") == [str(folder / "b.pdf")]
    assert documents(folder / "**/*.pdf") == [str(folder / "b.pdf"), str(folder / "deep/er/d.pdf")]
    assert documents(folder / "notes.doc") == [str(folder / "notes.doc")]


def test_what_is_named_twice_is_taken_once(folder: Path) -> None:
    assert documents(folder / "b.pdf", folder) == [
        str(folder / name) for name in ("b.pdf", "a.PNG", "deep/c.tif", "deep/er/d.pdf")
    ]


def test_lists(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("/data/a.pdf\n\ns3://bucket/b.pdf\n")
    (tmp_path / "list.csv").write_text("path,pages,year\n/data/c.pdf,1-3,1999\n/data/d.pdf,,2001\n")
    table = pa.table({"path": ["/data/e.pdf"], "year": [2020], "tags": [["x", "y"]]})
    pq.write_table(table, tmp_path / "list.parquet")
    sources = [str(tmp_path / f"list.{ending}") for ending in ("txt", "csv", "parquet")]
    assert list(find_entries(sources)) == [
        Entry("/data/a.pdf"),
        Entry("s3://bucket/b.pdf"),
        Entry("/data/c.pdf", "1-3", {"year": 1999}),
        Entry("/data/d.pdf", "", {"year": 2001}),
        Entry("/data/e.pdf", "", {"year": 2020, "tags": ["x", "y"]}),
    ]
    assert carried_schema(sources) == pa.schema(
        [("year", pa.int64()), ("tags", pa.list_(pa.string()))]
    )


def test_one_document_may_be_listed_with_several_ranges(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,pages\n/a.pdf,1\n/a.pdf,2\n/a.pdf,1\n")
    entries = list(find_entries([str(tmp_path / "list.csv")]))
    assert entries == [Entry("/a.pdf", "1"), Entry("/a.pdf", "2")]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("gone", None, "is not there"),
        ("empty.txt", "\n", "has no documents"),
        ("empty.csv", "path\n", "has no documents"),
        ("gone.txt", None, "is not there"),
        ("no*match", None, "has no documents"),
        ("list.csv", "file,pages\na.pdf,1\n", "no column `path`"),
        ("list.csv", "path,status\na.pdf,1\n", "columns status"),
        ("list.csv", "path\n\"\"\n", "without a path"),
        ("list.parquet", "PAR1", "cannot be read as a table"),
    ],
)  # fmt: skip
def test_bad_sources(tmp_path: Path, name: str, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    sources = [str(tmp_path / name)]
    with pytest.raises(InvalidInput, match=told):
        _ = carried_schema(sources), list(find_entries(sources))


@pytest.mark.parametrize("name", ["scan.pdf", "scans", "*.pdf", "list.csv", "list.txt"])
def test_a_store_that_lets_nobody_in(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    class Refusing(MemoryFileSystem):
        def info(self, *_: object, **__: object) -> NoReturn:
            raise RuntimeError("Unable to locate credentials")

        ls = isdir = isfile = open = info

    monkeypatch.setattr("deepocr.corpus.listing.connect", lambda source: (Refusing(), source))
    source = f"s3://bucket/{name}"
    with pytest.raises(StorageError, match=r"cannot be read: .* locate credentials"):
        _ = carried_schema([source]), list(find_entries([source]))


def test_lists_that_disagree_on_a_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,year\n/a.pdf,1\n")
    (tmp_path / "b.csv").write_text("path,year\n/b.pdf,long ago\n")
    with pytest.raises(InvalidInput, match="do not go together"):
        carried_schema([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")])
