"""Random faults at 5 % of pages, kills of every process, restarts, a disk that fills and empties:
every page settles once with the truth. `CHAOS_S` says for how long, `--log-cli-level INFO` shows
the figures."""

import json
import logging
import os
import threading
import time
from pathlib import Path

import pytest

from tests.service.chaos import (
    SCRIPT,
    Disturber,
    Prober,
    Tally,
    check,
    left_running,
    submit_for,
)
from tests.service.stack import eventually, running

log = logging.getLogger(__name__)

SECONDS = float(os.environ.get("CHAOS_S", "60"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("small_disk", ["256m"], indirect=True)
@pytest.mark.parametrize("redis", [False, True], ids=["embedded", "redis"])
def test_every_page_settles_once_with_the_truth(
    redis: bool, tmp_path: Path, small_disk: Path
) -> None:
    tally = Tally()
    parts = ("api", "worker") if redis else ("all",)
    settings = {
        "data_dir": small_disk / "data",
        "page_timeout_s": 3,
        "page_grace_s": 1,
        "visibility_timeout_s": 6,
        "max_client_tasks": 100_000,
        "max_pending_tasks": 100_000,
        "min_free_bytes": 1 << 20,
    }
    folder = tmp_path / "chaos"
    with running(folder, *parts, redis=redis, script=SCRIPT, **settings) as stack:
        until_s = time.monotonic() + SECONDS
        with Prober(stack, tally) as prober:
            disturber = Disturber(stack, small_disk, prober, tally)
            thread = threading.Thread(target=disturber.run, args=(until_s,))
            thread.start()
            handed_in = submit_for(stack, until_s, tally)
            thread.join()
            for task_id, pages in handed_in.items():
                check(stack.finished(task_id, 600), pages, tally)
        settled = {
            line.split('"')[1]: float(line.split()[-1])
            for line in stack.http.get("/metrics").text.splitlines()
            if line.startswith("deepocr_pages_total{")
        }
    figures = {"redis": redis, **tally.summary(), "reasons": tally.reasons.most_common()}
    log.info("%s", json.dumps(figures, indent=1))
    assert tally.documents == len(handed_in) > 0
    assert sum(settled.values()) == tally.pages  # once each, whatever was delivered twice
    assert tally.unanswered == 0
    eventually(lambda: not list(left_running(str(folder))), 20, "the end of every process")
