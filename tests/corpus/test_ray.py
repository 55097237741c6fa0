"""A Ray of one small node; what a whole run does there. `test_kills` has several."""

import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray

from deepocr.corpus.options import ClusterOptions
from deepocr.corpus.run import read_corpus
from deepocr.engines.scripted import Reply, Script
from tests.corpus.corpora import SCRIPTED, options_for, write_pdf

STORE_BYTES = 80 << 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterOptions]:
    ray.init(
        address="local",
        num_cpus=3,
        object_store_memory=STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield ClusterOptions(readers=1, price_per_hour=36.0)
    ray.shutdown()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(12):
        write_pdf(folder / f"small{number:02d}.pdf", 1)
    write_pdf(folder / "large.pdf", 60)
    (folder / "damaged.pdf").write_bytes(b"%PDF-1.7")
    return folder


def test_a_run_on_a_cluster(corpus: Path, tmp_path: Path, cluster: ClusterOptions) -> None:
    """Small documents and a large one; a page that ends its process every time."""
    script = tmp_path / "script.json"
    script.write_text(Script(pages={17: Reply(fault="kill")}).model_dump_json())
    settings = SCRIPTED.model_copy(update={"script": script})
    options = options_for(corpus, part_pages=8, shard_documents=5, tries=1)
    said = io.StringIO()
    report = read_corpus(options, str(tmp_path / "out"), settings, cluster, said)
    assert (report.documents, report.documents_failed) == (14, 1)
    assert report.pages == {"ok": 71, "failed": 1}
    assert report.cost == pytest.approx(report.seconds / 100, rel=1e-3)
    rows = pq.read_table(tmp_path / "out" / "pages").to_pylist()
    counts = Counter((row["document"], row["page"]) for row in rows)
    assert len(counts) == 72
    assert set(counts.values()) == {1}
    (failed,) = [row for row in rows if row["status"] == "failed"]
    assert failed["page"] == 17
    assert "ended without a word, 1 times" in failed["error"]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["pages"]["ok"] == 71
    assert "72 of 72 pages" in said.getvalue()


def test_the_command(corpus: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deepocr", "corpus", str(corpus / "gone"), "--out", "out"],
        cwd=tmp_path,
        env={**os.environ, "DEEPOCR_ENGINE": "scripted"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "gone is not there; check the path" in done.stderr
