"""Real predictions by the CPU reader over Cog's own HTTP server."""

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rapidfuzz.distance import Levenshtein

from deepocr.types import DocumentResult, Job, PageResult
from predict import Predictor
from tests.server.cog_server import CogServer
from tests.server.inputs import data_url

TASKS = ["Convert to Markdown", "Free OCR", "OCR with Boxes"]
FORMATS = ["Raw", "Markdown", "JSON"]


@pytest.fixture(scope="module")
def invoice(samples: Path) -> str:
    return data_url((samples / "invoice.png").read_bytes(), "image/png")


@pytest.fixture(scope="module")
def report(samples: Path) -> str:
    return data_url((samples / "report.pdf").read_bytes(), "application/pdf")


def words_of(text: str) -> str:
    """Words alone: headings and columns are marked up one way or another."""
    return " ".join(re.sub(r"[#|]", " ", text).split())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("output_format", FORMATS)
def test_every_task_and_format(
    ppocr_server: CogServer, invoice: str, task: str, output_format: str
) -> None:
    output = ppocr_server.output(image=invoice, task_type=task, output_format=output_format)
    if output_format == "JSON":
        page = json.loads(output)["pages"][0]
        assert page["status"] == "ok"
        output = "".join(region["text"] for region in page["regions"])
    assert "Invoice 2041" in output
    assert "204.16" in output
    assert ("<|ref|>" in output) == (output_format == "Raw" and task != "Free OCR")


def test_text_is_what_the_sample_says(ppocr_server: CogServer, invoice: str, samples: Path) -> None:
    output = ppocr_server.output(image=invoice, task_type="Free OCR", output_format="Markdown")
    reference = (samples / "invoice.txt").read_text()
    distance = Levenshtein.normalized_distance(words_of(output), words_of(reference))
    assert distance < 0.05, output


def test_locate_finds_words_where_they_stand(ppocr_server: CogServer, invoice: str) -> None:
    output = ppocr_server.output(
        image=invoice,
        task_type="Locate Object by Reference",
        reference_text="Invoice",
        output_format="JSON",
    )
    page = json.loads(output)["pages"][0]
    boxes = [box for region in page["regions"] for box in region["boxes_px"]]
    assert boxes
    width, height = page["size_px"]["width"], page["size_px"]["height"]
    assert all(0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height for x1, y1, x2, y2 in boxes)


def test_pdf_pages_in_order_each_followed_by_a_split(ppocr_server: CogServer, report: str) -> None:
    answer = ppocr_server.predict(image=report, task_type="Free OCR", output_format="Markdown")
    assert answer["status"] == "succeeded", answer
    lines = answer["output"].splitlines()
    assert lines.count("<--- Page Split --->") == answer["metrics"]["pages"] == 3
    assert answer["output"].rstrip().endswith("<--- Page Split --->")
    assert answer["metrics"]["status"] == {"ok": 3}
    assert answer["metrics"]["seconds"]["total"] > 0


def test_page_range(ppocr_server: CogServer, report: str) -> None:
    output = ppocr_server.output(image=report, pages="2-3", output_format="JSON")
    assert [page["number"] for page in json.loads(output)["pages"]] == [2, 3]


@pytest.fixture
def file_url(samples: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(samples)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/invoice.png"
    server.shutdown()
    thread.join()
    server.server_close()


def test_http_url(ppocr_server: CogServer, file_url: str, invoice: str) -> None:
    by_url = ppocr_server.output(image=file_url, task_type="Free OCR")
    assert by_url == ppocr_server.output(image=invoice, task_type="Free OCR")


def test_eight_at_once_get_their_own_answers(
    ppocr_server: CogServer, invoice: str, report: str
) -> None:
    requests = [{"image": invoice} if i % 2 else {"image": report, "pages": "1"} for i in range(8)]
    alone = [ppocr_server.output(task_type="Free OCR", **request) for request in requests[:2]]
    with ThreadPoolExecutor(8) as pool:
        together = list(
            pool.map(lambda r: ppocr_server.output(task_type="Free OCR", **r), requests)
        )
    assert together == alone * 4
    assert alone[0] != alone[1]


def test_the_first_answer_tells_what_the_start_took() -> None:
    told: dict[str, float] = {}
    predictor = Predictor()
    predictor.record_metric = told.__setitem__
    predictor.start_s = {"read": 2.5, "first page": 0.25}
    result = DocumentResult("", "scripted", Job(), (PageResult(1, "ok", (8, 8)),))
    predictor.record(result)
    assert (told["start_s.read"], told["start_s.first_page"]) == (2.5, 0.25)
    told.clear()
    predictor.record(result)
    assert not any(name.startswith("start_s") for name in told)
