"""Runs that go on, without a cluster: what is committed, what is read again, what is refused."""

import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from deepocr.book.files import WorkspaceError
from deepocr.corpus.progress import Progress, kind_of, report_of
from deepocr.corpus.reading import PartOutcome
from deepocr.corpus.run import _chosen, read_all
from deepocr.corpus.store import CorpusStore, Listed, ShardDone
from deepocr.engines.scripted import Reply, Script, ScriptedEngine
from deepocr.errors import EngineError
from deepocr.storage import DiskFolder
from tests.book.test_check import OTHER, book
from tests.corpus.corpora import SCRIPTED, Here, all_rows, options_for, write_pdf


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for name, num_pages in {"a": 5, "b": 1, "c": 1, "d": 7}.items():
        write_pdf(folder / f"{name}.pdf", num_pages)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    (folder / "list.csv").write_text(
        "path,pages,year\n"
        f"{folder}/a.pdf,,1999\n{folder}/b.pdf,,2000\n{folder}/broken.pdf,,2001\n"
        f"{folder}/c.pdf,9,2002\n{folder}/d.pdf,2-4,2003\n{folder}/gone.pdf,,2004\n"
    )
    return folder


def begin(out: Path, corpus: Path, **changes: Any) -> tuple[CorpusStore, Listed, Here, Progress]:
    options = options_for(corpus / "list.csv", part_pages=2, shard_documents=2, **changes)
    store = CorpusStore(DiskFolder(out), options)
    store.claim(SCRIPTED)
    listed = store.listed() or store.keep_listing(*_chosen(options))
    quiet = io.StringIO()
    return store, listed, Here(store, options), Progress(listed, None, quiet)


def test_a_whole_run(corpus: Path, tmp_path: Path) -> None:
    store, listed, here, progress = begin(tmp_path, corpus, markdown=True)
    assert listed == Listed(6, 3)
    read_all(store, listed, progress, here)
    rows = pq.read_table(tmp_path / "pages").to_pylist()
    assert [(row["document"].rpartition("/")[2], row["page"], row["year"]) for row in rows] == [
        *(("a.pdf", number, 1999) for number in range(1, 6)),
        ("b.pdf", 1, 2000),
        *(("d.pdf", number, 2003) for number in (2, 3, 4)),
    ]
    assert rows[1]["text"] == "page 2, Convert to Markdown, Gundam (Recommended)"
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["shard"] for row in rows} == {0, 2}
    documents = [row for n in range(3) for row in store.manifest(n, "documents")]
    assert [(row["num_pages"], row["read"], row["ok"], row["year"]) for row in documents] == [
        (5, 5, 5, 1999), (1, 1, 1, 2000), (0, 0, 0, 2001), (0, 0, 0, 2002), (7, 3, 3, 2003),
        (0, 0, 0, 2004),
    ]  # fmt: skip
    failures = [row for n in range(3) for row in store.manifest(n, "failures")]
    assert [row["page"] for row in failures] == [None, None, None]
    assert "9" in failures[1]["error"]
    assert (tmp_path / documents[0]["markdown"]).read_text().count("<--- Page Split --->") == 5
    assert documents[2]["markdown"] is None
    report = report_of(store, listed, progress)
    assert (report.documents, report.documents_failed, report.pages) == (6, 3, {"ok": 9})
    assert store.folder.names("_run/tries") == []


def test_a_run_that_was_killed_reads_what_is_missing_and_ends_the_same(
    corpus: Path, tmp_path: Path
) -> None:
    store, listed, here, progress = begin(tmp_path / "whole", corpus, markdown=True)
    read_all(store, listed, progress, here)

    again, listed, here, _ = begin(tmp_path / "killed", corpus, markdown=True)
    outcomes = here(range(3))
    for _ in range(2):
        next(outcomes)  # and the driver is gone
    outcomes.close()
    (tmp_path / "killed/pages/shard=000000/.part-00001.parquet.x.part").write_bytes(b"half")
    again, listed, here, progress = begin(tmp_path / "killed", corpus, markdown=True)
    read_all(again, listed, progress, here)
    assert isinstance(here.engine, ScriptedEngine)
    assert here.engine.started == 5
    assert (progress.pages, progress.earlier, progress.left) == (5, 4, 0)
    assert all_rows(again) == all_rows(store)
    for path in (tmp_path / "whole").glob("m*/**/*.*"):
        assert (tmp_path / "killed" / path.relative_to(tmp_path / "whole")).read_bytes() == (
            path.read_bytes()
        )


def test_a_shard_that_was_read_but_not_finished_is_finished(corpus: Path, tmp_path: Path) -> None:
    store, listed, here, progress = begin(tmp_path, corpus)
    read_all(store, listed, progress, here)
    for shard in range(3):
        store.folder.delete(f"manifest/documents-{shard:06d}.parquet")
    store, listed, here, progress = begin(tmp_path, corpus)
    read_all(store, listed, progress, here)
    assert store.finished() == {0, 1, 2}
    assert progress.pages == 0


def test_a_listing_that_was_not_ended_is_made_again(corpus: Path, tmp_path: Path) -> None:
    store, *_ = begin(tmp_path, corpus)
    store.folder.delete("_run/listed.json")
    store.folder.write("_run/listing/000001.parquet", b"half")
    _, listed, _, _ = begin(tmp_path, corpus)
    assert listed == Listed(6, 3)
    assert len(store.listing(1)) == 2


def test_a_damaged_listing_is_told(corpus: Path, tmp_path: Path) -> None:
    store, *_ = begin(tmp_path, corpus)
    for damaged in (b"", b"{", b"[]", b'{"documents": 6}'):
        store.folder.write("_run/listed.json", damaged)
        with pytest.raises(WorkspaceError, match=r"listed\.json .* is damaged"):
            store.listed()


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name, num_pages in {b"a\xff.pdf": 1, b"a\xfe.pdf": 2, b"a%FF.pdf": 3}.items():
        write_pdf(folder / "made.pdf", num_pages).rename(folder / os.fsdecode(name))
    (folder / os.fsdecode(b"broken\xff.pdf")).write_bytes(b"%PDF-1.7")
    (tmp_path / "list.txt").write_bytes(b"%b/a\xff.pdf\n" % bytes(folder))
    source = folder / os.fsdecode(b"a\xff.pdf")
    options = options_for(folder, tmp_path / "list.txt", source, markdown=True)
    store = CorpusStore(DiskFolder(tmp_path / "out"), options)
    store.claim(SCRIPTED)
    listed = store.keep_listing(*_chosen(options))
    read_all(store, listed, Progress(listed, None, io.StringIO()), Here(store, options))
    found = {row["document"]: (row["ok"], row["error"]) for row in store.manifest(0, "documents")}
    broken = found.pop(f"file:{folder}/broken%FF.pdf")
    assert "damaged" in broken[1]
    assert found == {
        f"file:{folder}/a%FF.pdf": (1, None),
        f"file:{folder}/a%FE.pdf": (2, None),
        f"{folder}/a%FF.pdf": (3, None),
    }


def test_other_settings_are_refused(corpus: Path, tmp_path: Path) -> None:
    begin(tmp_path, corpus)
    begin(tmp_path, corpus, tries=5)
    with pytest.raises(WorkspaceError, match="limit was 0, now 3"):
        begin(tmp_path, corpus, limit=3)
    options = options_for(corpus / "list.csv", part_pages=2, shard_documents=2)
    with pytest.raises(WorkspaceError, match="quantize was 'none', now 'int8'"):
        CorpusStore(DiskFolder(tmp_path), options).claim(
            SCRIPTED.model_copy(update={"quantize": "int8"})
        )


def test_pages_that_fail_are_rows_with_a_reason(corpus: Path, tmp_path: Path) -> None:
    store, listed, here, progress = begin(tmp_path, corpus)
    here.engine = ScriptedEngine(
        Script(pages={2: Reply(fault="foreign"), 4: Reply(text="\ud800 odd")})
    )
    read_all(store, listed, progress, here)
    rows = {(row["document_id"], row["page"]): row for row in all_rows(store)}
    assert {key for key, row in rows.items() if row["status"] == "failed"} == {(0, 2), (4, 2)}
    assert rows[0, 4]["text"] == "? odd"
    assert json.loads(rows[0, 4]["regions"])[0]["text"] == "? odd"
    assert sum(progress.reasons.values()) == 2
    assert [row["page"] for row in store.manifest(0, "failures")] == [2]


def test_a_page_that_its_witness_contradicts_is_counted_and_marked(tmp_path: Path) -> None:
    book(tmp_path / "book.pdf")
    options = options_for(tmp_path / "book.pdf", markdown=True)
    options = replace(options, reading=replace(options.reading, check="layer"))
    store = CorpusStore(DiskFolder(tmp_path / "out"), options)
    store.claim(SCRIPTED)
    listed = store.keep_listing(*_chosen(options))
    here = Here(store, options, ScriptedEngine(Script(default=Reply(text=OTHER))))
    progress = Progress(listed, None, io.StringIO())
    read_all(store, listed, progress, here)
    (document,) = store.manifest(0, "documents")
    assert (document["read"], document["contradicted"]) == (1, 1)
    assert report_of(store, listed, progress).pages == {"contradicted": 1}
    markdown = (tmp_path / "out" / document["markdown"]).read_text()
    assert markdown.startswith(f"<!-- page 1: contradicted by its witness -->\n\n{OTHER}")


def test_an_engine_that_breaks_is_started_again(corpus: Path, tmp_path: Path) -> None:
    store, listed, here, progress = begin(tmp_path, corpus)
    here.engine = ScriptedEngine(Script(pages={3: Reply(fault="broken")}))
    read_all(store, listed, progress, here)
    assert {row["status"] for row in all_rows(store)} == {"ok"}


def test_a_page_that_was_in_hand_at_too_many_losses_is_failed(corpus: Path, tmp_path: Path) -> None:
    store, listed, here, progress = begin(tmp_path, corpus)
    outcomes = here(range(3))
    next(outcomes)
    store.folder.write("_run/tries/000000-00001.json", b'{"losses": {"1": 2}, "in_hand": [0]}')
    outcomes.close()
    read_all(store, listed, progress, here)
    rows = {(row["document_id"], row["page"]): row for row in all_rows(store)}
    assert rows[0, 3]["status"] == "ok"
    assert "ended without a word, 2 times" in rows[0, 4]["error"]
    assert store.folder.names("_run/tries") == []


def test_a_cluster_that_fails_is_begun_again_while_pages_are_read(
    corpus: Path, tmp_path: Path
) -> None:
    store, listed, here, progress = begin(tmp_path, corpus)
    begun: list[list[int]] = []

    def fails(shards: Sequence[int]) -> Iterator[PartOutcome]:
        begun.append(list(shards))
        yield next(iter(here(shards)))
        raise ConnectionError("a node went away")

    read_all(store, listed, progress, fails)
    assert begun[0] == [0, 1, 2]
    assert begun[-1] == [2]
    assert len(all_rows(store)) == 9


def test_a_cluster_that_only_fails_ends_the_run(corpus: Path, tmp_path: Path) -> None:
    store, listed, _, progress = begin(tmp_path, corpus)

    def fails(shards: Sequence[int]) -> Iterator[PartOutcome]:
        raise ConnectionError("no node is there")
        yield

    with pytest.raises(EngineError, match="no node is there"):
        read_all(store, listed, progress, fails)


def test_the_line_tells_rate_time_cost_and_failures() -> None:
    stream = io.StringIO()
    progress = Progress(Listed(20, 2), 3600.0, stream)
    progress.learn(ShardDone(0, documents=10, pages=100, done=40))
    late = Counter({"page 3 took more than 60 s; do this": 2, "page 4 took more than 60 s": 1})
    progress.part_done(10, late)
    assert (progress.total, progress.left) == (200, 150)
    line = progress.line()
    assert line.startswith("50 of about 200 pages, ")
    assert "spent" in line
    assert line.endswith("3 failed: page N took more than N s (3)")
    assert kind_of("a (1,204.5 x 3)") == "a (N x N)"
