"""From one bucket into another, without a cluster."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from deepocr.corpus.listing import find_entries
from deepocr.corpus.progress import Progress
from deepocr.corpus.run import _chosen, read_all
from deepocr.corpus.store import CorpusStore
from deepocr.storage import open_folder
from tests.corpus.corpora import SCRIPTED, Here, all_rows, options_for, write_pdf
from tests.s3 import s3_server


def test_a_run_in_object_storage(tmp_path: Path) -> None:
    with s3_server() as bucket:
        scans = open_folder(f"{bucket}/scans")
        for name, num_pages in {"a.pdf": 1, "deep/b.pdf": 7}.items():
            scans.write(name, write_pdf(tmp_path / "made.pdf", num_pages).read_bytes())
        sink = io.BytesIO()
        paths = [f"{bucket}/scans/a.pdf", f"{bucket}/scans/gone.pdf"]
        pq.write_table(pa.table({"path": paths, "year": [1998, 1999]}), sink)
        scans.write("list.parquet", sink.getvalue())
        assert [entry.document for entry in find_entries([f"{bucket}/scans"])] == [
            f"{bucket}/scans/a.pdf",
            f"{bucket}/scans/deep/b.pdf",
        ]
        sources = (f"{bucket}/scans/list.parquet", f"{bucket}/scans/**/b.pdf")
        options = options_for(*sources, part_pages=3, markdown=True)
        store = CorpusStore(open_folder(f"{bucket}/out"), options)
        store.claim(SCRIPTED)
        listed = store.keep_listing(*_chosen(options))
        progress = Progress(listed, None, io.StringIO())
        read_all(store, listed, progress, Here(store, options))
        rows = all_rows(store)
        assert [(row["document"][len(bucket) :], row["page"], row["year"]) for row in rows] == [
            ("/scans/a.pdf", 1, 1998),
            *(("/scans/deep/b.pdf", number, None) for number in range(1, 8)),
        ]
        (failure,) = store.manifest(0, "failures")
        assert failure["document"].endswith("gone.pdf")
        assert "is not there" in failure["error"]
        assert store.folder.names("_run/tries") == []
        assert len(store.folder.names("markdown/000000")) == 2
        assert len(store.folder.names("pages/shard=000000")) == 3
