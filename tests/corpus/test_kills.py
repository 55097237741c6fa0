"""A cluster of several nodes while workers, nodes and the driver are killed at random.

python -m pytest -m slow tests/corpus/test_kills.py --log-cli-level INFO
"""

import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from deepocr.corpus.store import CorpusStore
from deepocr.engines.scripted import Reply, Script
from deepocr.storage import open_folder
from tests.corpus.corpora import all_rows, options_for, write_pdf

log = logging.getLogger(__name__)
pytestmark = pytest.mark.slow

DOCUMENTS = int(os.environ.get("KILLS_DOCUMENTS", "2000"))
LARGE_PAGES = int(os.environ.get("KILLS_LARGE_PAGES", "5000"))
KILLS = 10
NODES = 3
NODE = {"num_cpus": 2, "object_store_memory": 80 << 20}
PART_PAGES = 32
READERS = 3
RATE_DOCUMENTS = int(os.environ.get("RATE_DOCUMENTS", "4000"))
RATE_DELAY_S = float(os.environ.get("RATE_DELAY_S", "1.6"))

DRIVER = """
import json, resource, sys, threading, time
from deepocr.corpus.options import ClusterOptions
from deepocr.corpus.run import read_corpus
from tests.corpus.corpora import SCRIPTED, options_for
from pathlib import Path

source, out, address, script, part_pages, readers = sys.argv[1:]

def tell_memory():
    while True:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        print(json.dumps({"rss_mb": pages * 4096 >> 20}), flush=True)
        time.sleep(2)

threading.Thread(target=tell_memory, daemon=True).start()
options = options_for(source, part_pages=int(part_pages), shard_documents=64, markdown=True)
settings = SCRIPTED.model_copy(update={"script": Path(script)})
report = read_corpus(options, out, settings, ClusterOptions(address, int(readers), cpus=1))
print(json.dumps({"report": report.plain()}), flush=True)
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small documents, a large one, and one that is damaged."""
    folder = tmp_path_factory.mktemp("corpus")
    one = write_pdf(folder / "doc00000.pdf", 1).read_bytes()
    two = write_pdf(folder / "doc00001.pdf", 3).read_bytes()
    for number in range(2, DOCUMENTS - 2):
        (folder / f"doc{number:05d}.pdf").write_bytes(two if number % 10 == 0 else one)
    write_pdf(folder / "large.pdf", LARGE_PAGES)
    (folder / "damaged.pdf").write_bytes(b"%PDF-1.7")
    return folder


@contextmanager
def cluster() -> Iterator[Cluster]:
    made = Cluster(
        initialize_head=True,
        head_node_args={**NODE, "include_dashboard": False},
    )
    for _ in range(NODES - 1):
        made.add_node(**NODE)
    try:
        yield made
    finally:
        made.shutdown()


class Driver:
    """The process that a person starts."""

    def __init__(self, source: Path, out: Path, address: str, script: Path) -> None:
        self.log_path = out.with_suffix(".log")
        with self.log_path.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, str(source), str(out), address, str(script),
                 str(PART_PAGES), str(READERS)],
                stdout=said,
                stderr=said,
                start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def said(self, key: str) -> list[Any]:
        text, found = self.log_path.read_text(errors="replace"), []
        for place in re.finditer(f'{{"{key}"', text):  # lines of two threads may run together
            told, _ = json.JSONDecoder().raw_decode(text, place.start())
            found.append(told[key])
        return found


def readers() -> list[int]:
    """Processes of Ray that are reading."""
    found = subprocess.run(
        ["pgrep", "-f", "ray::.*Map.*Reader"], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


def write_script(path: Path, delay_s: float, text: str = "page {page}") -> Path:
    path.write_text(
        Script(default=Reply(delay_s=delay_s, text=text), concurrency=8).model_dump_json()
    )
    return path


def parts_there(out: Path) -> int:
    return len(list(out.glob("pages/*/*.parquet")))


def test_every_page_once_whatever_is_killed(corpus: Path, tmp_path: Path) -> None:
    script = write_script(tmp_path / "script.json", delay_s=0.2)
    with cluster() as quiet:
        undisturbed = Driver(corpus, tmp_path / "whole", quiet.address, script)
        assert undisturbed.process.wait(timeout=1200) == 0, undisturbed.log_path.read_text()
    (report,) = undisturbed.said("report")
    log.info("undisturbed: %s", report)
    log.info("driver memory: %s MB", undisturbed.said("rss_mb"))

    dice = random.Random(18)
    killed: Counter[str] = Counter()
    out = tmp_path / "killed"
    with cluster() as disturbed:
        driver = Driver(corpus, out, disturbed.address, script)
        while killed.total() < KILLS:
            before = parts_there(out)
            until = time.monotonic() + 60 + dice.random() * 5
            wanted = before + dice.randrange(2, 12)
            while parts_there(out) < wanted and time.monotonic() < until:
                assert driver.process.poll() in (None, 0), driver.log_path.read_text()[-3000:]
                time.sleep(0.1)
            # each kind three times at least
            kind = (
                ("worker", "node", "driver")[killed.total() % 3] if killed.total() < 9 else "node"
            )
            if kind == "worker" and (pids := readers()):
                os.kill(dice.choice(pids), signal.SIGKILL)
            elif kind == "node":
                others = list(disturbed.worker_nodes)
                disturbed.remove_node(dice.choice(others), allow_graceful=False)
                disturbed.add_node(**NODE)
            elif kind == "driver":
                driver.kill()
                driver = Driver(corpus, out, disturbed.address, script)
            else:
                continue
            killed[kind] += 1
            log.info("killed a %s with %d parts there", kind, before)
        assert driver.process.wait(timeout=1200) == 0, driver.log_path.read_text()[-3000:]
    log.info("killed: %s; driver memory: %s MB", dict(killed), driver.said("rss_mb"))

    options = options_for(corpus, part_pages=PART_PAGES, shard_documents=64, markdown=True)
    whole, again = (
        CorpusStore(open_folder(str(tmp_path / name)), options) for name in ("whole", "killed")
    )
    rows = all_rows(again)
    counts = Counter((row["document"], row["page"]) for row in rows)
    assert set(counts.values()) == {1}
    assert rows == all_rows(whole)
    assert whole.folder.names("_run/tries") == again.folder.names("_run/tries") == []
    for folder in ("manifest", "markdown"):
        names = sorted(path for path in (tmp_path / "whole" / folder).rglob("*") if path.is_file())
        assert names
        for path in names:
            other = out / path.relative_to(tmp_path / "whole")
            assert other.read_bytes() == path.read_bytes()
    log.info("%d rows of %d documents, the same", len(rows), DOCUMENTS)


def test_engines_are_kept_busy(tmp_path: Path) -> None:
    """Engines that read eight pages at once, and documents of one page; counted between the first
    tenth of the parts and the last one."""
    folder = tmp_path / "corpus"
    one = write_pdf(folder / "doc00000.pdf", 1).read_bytes()
    for number in range(1, RATE_DOCUMENTS):
        (folder / f"doc{number:05d}.pdf").write_bytes(one)
    script = write_script(tmp_path / "script.json", delay_s=RATE_DELAY_S, text="8 pieces")
    out = tmp_path / "out"
    with cluster() as quiet:
        driver = Driver(folder, out, quiet.address, script)
        assert driver.process.wait(timeout=1200) == 0, driver.log_path.read_text()
    there = sorted(path.stat().st_mtime for path in out.glob("pages/*/*.parquet"))
    first, last = there[len(there) // 10], there[len(there) * 9 // 10]
    pages = PART_PAGES * (len(there) * 9 // 10 - len(there) // 10)
    share = pages / (last - first) / (READERS * 8 / RATE_DELAY_S)
    log.info("%.1f pages/s, %.1f %% of what the engines can", pages / (last - first), 100 * share)
    (report,) = driver.said("report")
    assert report["pages"] == {"ok": RATE_DOCUMENTS}
