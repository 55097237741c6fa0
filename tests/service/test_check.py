"""Pages of tasks held against a second reader, through real processes."""

from collections.abc import Iterator
from pathlib import Path

import pymupdf
import pytest

from tests.service.stack import Stack, eventually, running

SAMPLES = Path(__file__).resolve().parents[2] / "deepocr" / "samples"
TRUE = "The road from the coast to the high market was never a single track in 1742."


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Page 1 is read well, page 2 with another number, page 3 fails."""
    script = {
        "default": {"text": TRUE},
        "pages": {"2": {"text": TRUE.replace("1742", "1724")}, "3": {"error": "the lamp went out"}},
    }
    with running(tmp_path_factory.mktemp("checked"), script=script) as stack:
        yield stack


def book(pages: int) -> bytes:
    document = pymupdf.open()
    for _ in range(pages):
        document.new_page(width=500, height=300).insert_text((20, 140), TRUE, fontsize=12)
    return bytes(document.tobytes())


def test_verdicts_and_findings(checked: Stack) -> None:
    task_id = checked.submit(book(3), check="true")
    result = checked.finished(task_id)["result"]
    assert [page["verdict"] for page in result["pages"]] == ["confirmed", "doubtful", None]
    assert result["verdicts"] == {"confirmed": 1, "doubtful": 1}
    page = checked.http.get(f"/api/v1/ocr/results/{task_id}/pages/2").json()
    assert page["check"]["witness"] == "text layer"
    (finding,) = page["check"]["findings"]
    assert (finding["kind"], finding["witness"][:4], finding["text"][:4]) == (
        "differs",
        "1742",
        "1724",
    )
    assert 'data-verdict="doubtful"' in page["text_html"]
    assert 'class="finding"' in page["picture_html"]
    for kind, shown in (("json", '"verdict": "doubtful"'), ("html", 'class="finding-list"')):

        def fetched(kind: str = kind) -> str | None:
            path = f"/api/v1/ocr/results/{task_id}/download"
            answer = checked.http.get(path, params={"format": kind})
            return answer.text if answer.status_code == 200 else None

        assert shown in eventually(fetched, 60)
    assert 'deepocr_verdicts_total{verdict="doubtful"}' in checked.http.get("/metrics").text


def test_what_is_missing_is_inserted(checked: Stack) -> None:
    document = pymupdf.open()
    page = document.new_page(width=500, height=300)
    page.insert_text((20, 100), "Six hives stand on the flat roof.", fontsize=12)
    page.insert_text((20, 140), TRUE, fontsize=12)
    task_id = checked.submit(bytes(document.tobytes()), repair="true")
    checked.finished(task_id)
    shown = checked.http.get(f"/api/v1/ocr/results/{task_id}/pages/1").json()
    inserted = "<ins>Six hives stand on the flat roof.</ins>"
    assert shown["markdown"] == f"{inserted}\n\n{TRUE}"
    assert inserted in shown["text_html"]
    # its finding tells where it stands now
    assert [(f["kind"], f["region"]) for f in shown["check"]["findings"]] == [("missing", 0)]


def test_no_check_unless_asked_for(checked: Stack) -> None:
    task_id = checked.submit(book(1))
    result = checked.finished(task_id)["result"]
    assert (result["pages"][0]["verdict"], result["verdicts"]) == (None, {})
    assert "check" not in checked.http.get(f"/api/v1/ocr/results/{task_id}/pages/1").json()


def test_the_cpu_reader_is_asked_about_a_picture(checked: Stack) -> None:
    picture = (SAMPLES / "invoice.png").read_bytes()
    task_id = checked.submit(picture, check="true")
    checked.finished(task_id, 120)
    check = checked.http.get(f"/api/v1/ocr/results/{task_id}/pages/1").json()["check"]
    assert (check["verdict"], check["witness"]) == ("contradicted", "ppocr")
    assert any("2041" in finding["witness"] for finding in check["findings"])


def test_a_task_that_cannot_be_checked_is_refused(checked: Stack) -> None:
    answer = checked.http.post(
        "/api/v1/ocr/process",
        files={"file": ("a.pdf", book(1))},
        data={"check": "true", "task": "Describe Image"},
    )
    assert answer.status_code == 422
    assert "leave check out" in answer.json()["detail"]


def test_a_checked_task_is_another_request(checked: Stack) -> None:
    content, headers = book(1), {"Idempotency-Key": "one"}
    task_id = checked.submit(content, check="true", headers=headers)
    assert checked.submit(content, check="true", headers=headers) == task_id
    checked.submit(content, expect=422, headers=headers)
