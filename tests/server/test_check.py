"""The input `check`: pages held against a second reader."""

import json
import re

import pytest

from tests.server.cog_server import CogServer
from tests.server.test_predictions import invoice, report

__all__ = ["invoice", "report"]


def test_a_check_is_asked_for(ppocr_server: CogServer, report: str) -> None:
    answer = ppocr_server.predict(image=report, pages="1", output_format="JSON")
    assert "check" not in json.loads(answer["output"])["pages"][0]
    assert "verdict" not in answer["metrics"]


def test_the_text_layer_confirms(ppocr_server: CogServer, report: str) -> None:
    answer = ppocr_server.predict(image=report, output_format="JSON", check=True)
    assert answer["status"] == "succeeded", answer
    checks = [page["check"] for page in json.loads(answer["output"])["pages"]]
    assert {check["witness"] for check in checks} == {"text layer"}
    assert answer["metrics"]["verdict"] == {"confirmed": 3}, checks


def test_the_cpu_reader_is_not_its_own_witness(ppocr_server: CogServer, invoice: str) -> None:
    answer = ppocr_server.predict(image=invoice, output_format="JSON", check=True)
    assert answer["metrics"]["verdict"] == {"no_witness": 1}
    assert json.loads(answer["output"])["pages"][0]["check"]["reason"] == "no text layer"


def test_findings_of_the_cpu_reader(wrong_server: CogServer, invoice: str) -> None:
    answer = wrong_server.predict(image=invoice, output_format="JSON", check=True)
    check = json.loads(answer["output"])["pages"][0]["check"]
    assert (check["verdict"], check["witness"]) == ("contradicted", "ppocr")
    missing = [finding for finding in check["findings"] if finding["kind"] == "missing"]
    assert any("2041" in finding["witness"] for finding in missing)
    assert all(finding["box_px"] for finding in missing)
    assert any(finding["kind"] == "unsupported" for finding in check["findings"])


@pytest.mark.parametrize("output_format", ["Raw", "Markdown"])
def test_other_formats_keep_their_form(
    wrong_server: CogServer, report: str, output_format: str
) -> None:
    wanted = {"image": report, "pages": "1", "output_format": output_format}
    checked = wrong_server.predict(**wanted, check=True)
    assert checked["output"] == wrong_server.output(**wanted)
    assert checked["metrics"]["verdict"] == {"contradicted": 1}


def test_what_is_missing_is_inserted(wrong_server: CogServer, invoice: str) -> None:
    wanted = {"image": invoice, "output_format": "Markdown", "check": True}
    text = wrong_server.output(**wanted, repair=True)
    assert wrong_server.output(**wanted) == re.sub("\n\n<ins>.*?</ins>", "", text, flags=re.DOTALL)
    assert re.search("<ins>[^<]*2041", text)


@pytest.mark.parametrize("more", [{"check": True}, {"output_format": "JSON"}])
def test_a_repair_without_a_check_or_a_place_is_refused(
    wrong_server: CogServer, invoice: str, more: dict[str, object]
) -> None:
    answer = wrong_server.predict(image=invoice, repair=True, **more)
    assert answer["status"] == "failed"
    assert "leave repair out" in answer["error"]


def test_a_task_that_cannot_be_checked_is_refused(wrong_server: CogServer, invoice: str) -> None:
    answer = wrong_server.predict(image=invoice, task_type="Describe Image", check=True)
    assert answer["status"] == "failed"
    assert "leave check out" in answer["error"]
