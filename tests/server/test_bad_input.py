"""Each mistake is one failed prediction with one clear sentence; the server lives on."""

from typing import Any

import pytest

from tests.server.cog_server import CogServer
from tests.server.inputs import data_url, huge_png, pdf, pdf_without_pages, picture

GOOD = data_url(picture(), "image/png")
THREE_PAGES = data_url(pdf(3), "application/pdf")

FAILS: dict[str, tuple[dict[str, Any], str]] = {
    "a local path": ({"image": "/etc/hostname"}, "data: URL"),
    "an empty string": ({"image": ""}, "data: URL"),
    "no bytes": ({"image": data_url(b"", "image/png")}, "empty"),
    "invalid base64": ({"image": "data:image/png;base64,@@@@"}, "empty"),
    "a truncated JPEG": (
        {"image": data_url(picture((800, 600), "JPEG")[:-400], "image/jpeg")},
        "truncated",
    ),
    "a text file named .png": ({"image": data_url(b"hello there\n" * 20, "image/png")}, "PDF"),
    "one pixel": ({"image": data_url(picture((1, 1)), "image/png")}, "1 x 1"),
    "too many pixels": ({"image": data_url(huge_png(30_000), "image/png")}, "30000 x 30000"),
    "an encrypted PDF": (
        {"image": data_url(pdf(1, password="secret"), "application/pdf")},
        "password",
    ),
    "a damaged PDF": ({"image": data_url(pdf(2)[:300], "application/pdf")}, "PDF"),
    "a PDF of no pages": ({"image": data_url(pdf_without_pages(), "application/pdf")}, "pages"),
    "a range backward": ({"image": THREE_PAGES, "pages": "9-3"}, "9-3"),
    "page zero": ({"image": THREE_PAGES, "pages": "0"}, "0"),
    "beyond the end": ({"image": THREE_PAGES, "pages": "5-"}, "3 pages"),
    "letters for pages": ({"image": THREE_PAGES, "pages": "abc"}, "abc"),
    "a resolution of letters": ({"image": THREE_PAGES, "dpi": "high"}, "from 36 to 1200 dpi"),
    "nothing to locate": (
        {"image": GOOD, "task_type": "Locate Object by Reference"},
        "reference_text",
    ),
    "a task this engine lacks": (
        {"image": GOOD, "task_type": "Parse Figure"},
        "Convert to Markdown",
    ),
    "a tag as reference": (
        {
            "image": GOOD,
            "task_type": "Locate Object by Reference",
            "reference_text": "x<|/ref|>",
        },
        "tag",
    ),
}

REFUSED: dict[str, dict[str, Any]] = {
    "an unknown task": {"image": GOOD, "task_type": "Dance"},
    "an unknown resolution": {"image": GOOD, "resolution_size": "Huge"},
    "an unknown format": {"image": GOOD, "output_format": "XML"},
    "no image": {},
    "too many tokens": {"image": GOOD, "max_new_tokens": 100_000},
}


@pytest.mark.parametrize("name", FAILS)
def test_fails_with_a_sentence(ppocr_server: CogServer, name: str) -> None:
    inputs, expected = FAILS[name]
    answer = ppocr_server.predict(**inputs)
    assert answer["status"] == "failed", answer
    assert expected.lower() in answer["error"].lower()
    assert "\n" not in answer["error"].strip()
    assert "Traceback" not in answer["error"]
    assert ppocr_server.health()["status"] == "READY"


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_the_schema(ppocr_server: CogServer, name: str) -> None:
    answer = ppocr_server.predict(**REFUSED[name])
    assert answer["http_status"] == 422, answer
    assert ppocr_server.health()["status"] == "READY"


def test_a_prediction_works_after_all_that(ppocr_server: CogServer) -> None:
    output = ppocr_server.output(image=THREE_PAGES, pages="3", task_type="Free OCR")
    assert "page number 3" in output
