"""What runs on the cluster's machines, called without one; and a sample's page."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from deepocr.corpus.options import CorpusOptions
from deepocr.corpus.progress import Progress, report_of
from deepocr.corpus.run import _chosen, read_all
from deepocr.corpus.samples import estimate_of, sample_store, write_samples
from deepocr.corpus.stages import OpenShard, Reader, outcome_from
from deepocr.corpus.store import CorpusStore
from deepocr.storage import open_folder
from deepocr.types import Job
from tests.corpus.corpora import SCRIPTED, Here, all_rows, options_for, write_pdf


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for number in range(5):
        write_pdf(tmp_path / "in" / f"doc{number}.pdf", 3)
    return tmp_path / "in"


def begin(address: str, options: CorpusOptions) -> CorpusStore:
    store = CorpusStore(open_folder(address), options)
    store.claim(SCRIPTED)
    store.keep_listing(*_chosen(options))
    return store


def test_a_shard_goes_through_both_stages(corpus: Path, tmp_path: Path) -> None:
    options = options_for(corpus, part_pages=10)
    out = str(tmp_path / "out")
    store = begin(out, options)
    opened = list(OpenShard(out, options, SCRIPTED)({"shard": 0}))
    assert [(row["shard"], row["part"]) for row in opened] == [(0, 0), (0, 1)]
    reader = Reader(out, options, SCRIPTED)
    outcomes = [outcome_from(reader(row)["outcome"]) for row in opened]
    assert [outcome.statuses["ok"] for outcome in outcomes] == [10, 5]
    assert store.finished() == {0}
    assert list(OpenShard(out, options, SCRIPTED)({"shard": 0})) == []
    again = outcome_from(reader(opened[1])["outcome"])  # as when Ray tries once more
    assert again == outcomes[1]


def test_what_no_page_is_to_blame_for_goes_to_the_driver(corpus: Path, tmp_path: Path) -> None:
    options = options_for(corpus)
    options = replace(options, reading=replace(options.reading, job=Job("Describe Image")))
    out = str(tmp_path / "out")
    store = begin(out, options)
    (opened,) = OpenShard(out, options, SCRIPTED)({"shard": 0})
    settings = SCRIPTED.model_copy(update={"engine": "ppocr"})
    row = Reader(out, options, settings)(opened)
    assert row["error"] == "UnsupportedTask"
    assert "cannot do 'Describe Image'" in row["reason"]
    assert store.folder.names("_run/tries") == []
    told = Reader(out, options, SCRIPTED)({"shard": 0, "part": 0, **row})
    assert (told["error"], told["reason"]) == (row["error"], row["reason"])


def test_a_sample_and_its_page(corpus: Path, tmp_path: Path) -> None:
    (corpus / "broken.pdf").write_bytes(b"%PDF-1.7")
    options = options_for(corpus, sample=4)
    store = sample_store(str(tmp_path), options)
    store.claim(SCRIPTED)
    listed = store.keep_listing(*_chosen(options))
    assert (listed.documents, listed.of) == (4, 6)
    progress = Progress(listed, 36.0, io.StringIO())
    read_all(store, listed, progress, Here(store, options))
    report = report_of(store, listed, progress)
    rows = all_rows(store)
    assert len({row["document"] for row in rows}) == len(rows) == report.pages["ok"]
    write_samples(store, listed, options, SCRIPTED)
    shown = (tmp_path / "sample" / "samples.html").read_text()
    assert shown.count("<img") == len(rows)
    assert f"{Path(rows[0]['document']).name}, page {rows[0]['page']}" in shown
    told = estimate_of(str(tmp_path), options, report, 36.0)
    assert told.startswith("6 documents with about 1")
