"""JSON: everything known about a document, in the form of schema/document.v1.json."""

import json
import math
from importlib import resources
from typing import Any

from deepocr.parsing.text import encodable
from deepocr.render.failures import render_or_tell
from deepocr.types import DocumentResult, PageCheck, PageResult, Region

SCHEMA_VERSION = 1
"""Goes up when a key is removed or changes its meaning; new keys may come without."""

# microseconds, and as many digits of a probability: more is noise
_DIGITS = 6


def render_json(result: DocumentResult, *, indent: int | None = 2) -> str:
    """The document as JSON text, UTF-8 characters as themselves."""
    return json.dumps(document_to_dict(result), ensure_ascii=False, indent=indent, allow_nan=False)


def document_to_dict(result: DocumentResult) -> dict[str, Any]:
    """The document in plain types, ready for json.dumps."""
    return {
        "schema_version": SCHEMA_VERSION,
        "name": encodable(result.name),
        "engine": result.engine,
        "job": {
            "task": result.job.task,
            "reference_text": encodable(result.job.reference_text),
            "preset": result.job.preset,
            "max_new_tokens": result.job.max_new_tokens,
        },
        "pages": [render_or_tell(page_to_dict, page, "JSON") for page in result.pages],
    }


def page_to_dict(page: PageResult) -> dict[str, Any]:
    """One page in plain types; `notes` only where the engine made some."""
    plain: dict[str, Any] = {
        "number": page.number,
        "status": page.status,
        "error": None if page.error is None else encodable(page.error),
        "size_px": {"width": page.size_px[0], "height": page.size_px[1]},
        "finish_reason": page.finish_reason,
        "confidence": _number(page.confidence),
        "usage": {
            "prompt_tokens": page.usage.prompt_tokens,
            "output_tokens": page.usage.output_tokens,
        },
        "seconds": {stage: _number(value) for stage, value in page.seconds.items()},
        "regions": [region_to_dict(region) for region in page.regions],
        "raw": encodable(page.raw),
    }
    if page.notes:
        plain["notes"] = {name: encodable(note) for name, note in page.notes.items()}
    if page.check is not None:
        plain["check"] = check_to_dict(page.check)
    return plain


def check_to_dict(check: PageCheck) -> dict[str, Any]:
    """A page's check in plain types."""
    return {
        "page": check.page,
        "verdict": check.verdict,
        "witness": check.witness,
        "reason": encodable(check.reason),
        "coverage": _number(check.coverage),
        "support": _number(check.support),
        "findings": [
            {
                "kind": finding.kind,
                "page": finding.page,
                "box_px": None if finding.box_px is None else list(finding.box_px),
                "witness": encodable(finding.witness),
                "text": encodable(finding.text),
                "region": finding.region,
            }
            for finding in check.findings
        ],
    }


def region_to_dict(region: Region) -> dict[str, Any]:
    """One region in plain types; `lines` only where the engine knows lines."""
    plain: dict[str, Any] = {
        "label": encodable(region.label),
        "text": encodable(region.text),
        "boxes_px": [list(box) for box in region.boxes_px],
        "boxes_raw": [list(box) for box in region.boxes_raw],
        "confidence": _number(region.confidence),
    }
    if region.lines:
        plain["lines"] = [
            {
                "text": encodable(line.text),
                "quad_px": [list(corner) for corner in line.quad_px],
                "confidence": _number(line.confidence),
            }
            for line in region.lines
        ]
    return plain


def load_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that render_json's output follows."""
    file = resources.files("deepocr.render").joinpath(f"schema/document.v{SCHEMA_VERSION}.json")
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema


def _number(value: float | None) -> float | None:
    """JSON has no NaN or infinity: such a figure is not known."""
    return round(float(value), _DIGITS) if value is not None and math.isfinite(value) else None
