import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from deepocr.parsing.grounding import parse_regions
from deepocr.render.json import SCHEMA_VERSION, document_to_dict, load_schema, render_json
from deepocr.render.text_forms import render_document
from deepocr.types import (
    DocumentResult,
    Job,
    Line,
    PageResult,
    Region,
    TextDelta,
    Usage,
)
from tests.unit.test_grounding import PAGE

SIZE = (1998, 999)
LINE = Line("Grüße, 世界", ((1, 2), (30, 2), (30, 9), (1, 9)), 0.987654321)


def result() -> DocumentResult:
    pages = (
        PageResult(
            number=2,
            status="truncated",
            size_px=SIZE,
            raw=PAGE,
            regions=parse_regions(PAGE, SIZE, [TextDelta(PAGE, (0.5, 0.75))]),
            finish_reason="length",
            usage=Usage(prompt_tokens=280, output_tokens=90),
            confidence=0.625,
            seconds={"render": 0.01, "total": 1.5},
        ),
        PageResult(
            number=3,
            status="ok",
            size_px=SIZE,
            regions=(Region("text", LINE.text, ((1, 2, 30, 9),), ((0, 2, 15, 9),), 0.98, (LINE,)),),
        ),
        PageResult(number=4, status="failed", size_px=(0, 0), error="page 4 is damaged"),
    )
    job = Job(task="Locate Object by Reference", reference_text="the sum")
    return DocumentResult("two.pdf", "scripted", job, pages)


def check(plain: Any) -> None:
    jsonschema.Draft202012Validator(load_schema()).validate(plain)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(load_schema())
    assert load_schema()["properties"]["schema_version"] == {"const": SCHEMA_VERSION}


def test_output_follows_the_schema_and_tells_everything() -> None:
    plain = json.loads(render_json(result()))
    check(plain)
    assert plain["schema_version"] == 1
    assert (plain["name"], plain["engine"]) == ("two.pdf", "scripted")
    assert plain["job"]["reference_text"] == "the sum"
    first, second, third = plain["pages"]
    assert (first["number"], first["status"], first["finish_reason"]) == (2, "truncated", "length")
    assert first["usage"] == {"prompt_tokens": 280, "output_tokens": 90}
    assert first["seconds"] == {"render": 0.01, "total": 1.5}
    assert first["raw"] == PAGE
    assert first["regions"][0] == {
        "label": "title",
        "text": "# Notes on lamps",
        "boxes_px": [[200, 50, 1800, 90]],
        "boxes_raw": [[100, 50, 900, 90]],
        "confidence": 0.625,
    }
    assert second["regions"][0]["lines"] == [
        {
            "text": "Grüße, 世界",
            "quad_px": [[1, 2], [30, 2], [30, 9], [1, 9]],
            "confidence": 0.987654,
        }
    ]
    assert (third["status"], third["error"]) == ("failed", "page 4 is damaged")


def test_text_is_readable_utf8_whatever_is_in_it() -> None:
    document = result()
    assert "Grüße, 世界" in render_json(document)
    broken = replace(document.pages[1], raw="half \ud83d pair \x00", confidence=float("nan"))
    text = render_json(replace(document, pages=(broken,)))
    plain = json.loads(text.encode("utf-8"))
    check(plain)
    assert plain["pages"][0]["raw"] == "half ? pair \x00"
    assert plain["pages"][0]["confidence"] is None


def test_indent_may_be_left_out() -> None:
    assert "\n" not in render_json(result(), indent=None)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plain: plain.pop("engine"),
        lambda plain: plain.update(extra=1),
        lambda plain: plain.update(schema_version=2),
        lambda plain: plain["pages"][0].update(status="fine"),
        lambda plain: plain["pages"][0].update(error="but it is not failed"),
        lambda plain: plain["pages"][2].update(error=None),
        lambda plain: plain["pages"][0]["regions"][0].update(boxes_px=[[1, 2, 3]]),
        lambda plain: plain["pages"][0]["regions"][0].update(boxes_raw=[[1, 2, 3, 1000]]),
        lambda plain: plain["pages"][0].update(confidence=1.2),
    ],
)
def test_the_schema_refuses_what_is_not_so(spoil: Any) -> None:
    plain = document_to_dict(result())
    check(plain)
    spoil(plain)
    with pytest.raises(jsonschema.ValidationError):
        check(plain)


@pytest.mark.parametrize("output_format", ["Raw", "Markdown", "JSON"])
def test_a_page_that_cannot_be_rendered_takes_no_other_with_it(output_format: str) -> None:
    whole = replace(result(), job=Job())
    raw: Any = 5 if output_format == "Raw" else "as written"
    bad = replace(whole.pages[1], raw=raw, regions=(Region(3, 4),))  # type: ignore[arg-type]
    pages = (whole.pages[0], bad, whole.pages[2])
    text = render_document(replace(whole, pages=pages), output_format, paged=True)
    assert f"cannot be written as {output_format}" in text
    assert "page 4 is damaged" in text
    assert "The power is" in text
