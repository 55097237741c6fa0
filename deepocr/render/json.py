"""JSON: everything known about a document, in the form of schema/document.v1.json."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from importlib import resources
from typing import Any

from deepocr.parsing.text import encodable
from deepocr.render.failures import render_or_tell
from deepocr.types import DocumentResult, PageCheck, PageResult, Region

SCHEMA_VERSION = 1
"""Increased when a key is removed or changes its meaning, but not for new keys."""

# microseconds, and as many digits of a probability; further digits are noise
_DIGITS = 6


def render_json(result: DocumentResult, *, indent: int | None = 2) -> str:
    """The document as JSON text, UTF-8 characters as themselves."""
    return json.dumps(document_to_dict(result), ensure_ascii=False, indent=indent, allow_nan=False)


def document_to_dict(result: DocumentResult) -> dict[str, Any]:
    """The document in plain types, ready for json.dumps."""
    return {
        "schema_version": SCHEMA_VERSION,
        "name": encodable(result.name),
        "engine": encodable(result.engine),
        "job": _fields(result.job),
        "pages": [render_or_tell(page_to_dict, page, "JSON") for page in result.pages],
    }


def page_to_dict(page: PageResult) -> dict[str, Any]:
    """One page in plain types; `notes` and `check` only if it has them."""
    plain: dict[str, Any] = {
        "number": page.number,
        "status": page.status,
        "error": _plain(page.error),
        "size_px": {"width": page.size_px[0], "height": page.size_px[1]},
        "dpi": _plain(page.dpi),
        "finish_reason": page.finish_reason,
        "confidence": _plain(page.confidence),
        "usage": _fields(page.usage),
        "seconds": _plain(page.seconds),
        "regions": [_region_to_dict(region) for region in page.regions],
        "raw": encodable(page.raw),
    }
    if page.notes:
        plain["notes"] = _plain(page.notes)
    if page.check is not None:
        plain["check"] = check_to_dict(page.check)
    return plain


def check_to_dict(check: PageCheck) -> dict[str, Any]:
    """A page's check in plain types."""
    return _fields(check)


def _region_to_dict(region: Region) -> dict[str, Any]:
    """`lines` is included only if the engine knows lines. Raises if the text is not a string, as
    the schema would refuse the JSON."""
    plain = _fields(region)
    plain.update(label=encodable(region.label), text=encodable(region.text))
    if not region.lines:
        del plain["lines"]
    for line in plain.get("lines", ()):
        if not line["word_spans"]:
            del line["word_spans"]
    return plain


def load_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that render_json's output follows."""
    file = resources.files("deepocr.render").joinpath(f"schema/document.v{SCHEMA_VERSION}.json")
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema


def _fields(record: Any) -> dict[str, Any]:
    """A dataclass as a mapping; the names of its fields are the keys."""
    return {field.name: _plain(getattr(record, field.name)) for field in fields(record)}


def _plain(value: Any) -> Any:
    """The value with encodable strings and with finite, rounded numbers, also inside lists and
    objects."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, float):
        # JSON has no NaN or infinity: such a number counts as unknown
        return round(value, _DIGITS) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, int) else _fields(value)
