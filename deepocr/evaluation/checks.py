"""Checks in olmOCR-bench's JSONL form, with its matching rules.

Each line is an object with `pdf`, `page` (from 1), `id`, `type` and `max_diffs`. `present` and
`absent` have `text`, `case_sensitive`, `first_n` and `last_n`; `order` has `before` and `after`;
`table` has `cell` and any of `up`, `down`, `left`, `right`, `top_heading`, `left_heading`. Other
types (math, baseline, format, footnote) are counted and not checked.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rapidfuzz import fuzz

from deepocr.errors import InvalidInput
from deepocr.evaluation.grids import CellGrid, Place, find_tables
from deepocr.evaluation.texts import match_starts, normalize

CheckType = Literal["present", "absent", "order", "table"]
CHECK_TYPES: tuple[CheckType, ...] = ("present", "absent", "order", "table")

MIN_TABLE_RATIO = 0.5
"""However many differences a check allows, a cell is at least this much alike."""


class Check(BaseModel):
    """One line of a JSONL file; what its type does not use is empty."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    pdf: str = Field(min_length=1)
    page: int = Field(ge=1)
    id: str = Field(min_length=1)
    type: CheckType
    max_diffs: int = Field(default=0, ge=0)
    text: str = ""
    case_sensitive: bool = True
    first_n: int | None = None
    last_n: int | None = None
    before: str = ""
    after: str = ""
    cell: str = ""
    up: str | None = None
    down: str | None = None
    left: str | None = None
    right: str | None = None
    top_heading: str | None = None
    left_heading: str | None = None


REQUIRED: Mapping[CheckType, tuple[str, ...]] = {
    "present": ("text",),
    "absent": ("text",),
    "order": ("before", "after"),
    "table": ("cell",),
}


@dataclass(frozen=True)
class CheckFile:
    """The checks of a file, and how many lines had a type that is not checked."""

    checks: tuple[Check, ...]
    ignored: Mapping[str, int]


def load_checks(path: Path) -> CheckFile:
    """Raises InvalidInput with the file, the line and what is wrong with it."""
    checks: list[Check] = []
    ignored: Counter[str] = Counter()
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"checks {str(path)!r} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            kind = fields.get("type") if isinstance(fields, dict) else None
            if isinstance(kind, str) and kind not in CHECK_TYPES:
                ignored[kind] += 1
                continue
            check = Check.model_validate(fields)
        except (json.JSONDecodeError, ValidationError) as error:
            raise InvalidInput(f"{path}:{number} is no check: {error}") from error
        missing = [name for name in REQUIRED[check.type] if not getattr(check, name).strip()]
        if missing:
            raise InvalidInput(f"{path}:{number}: a check {check.type!r} needs {missing[0]!r}")
        checks.append(check)
    return CheckFile(tuple(checks), dict(ignored))


def run_check(check: Check, markdown: str) -> bool:
    """Does a page's Markdown pass?"""
    return _RULES[check.type](check, markdown)


def _is_found(check: Check, markdown: str) -> bool:
    text, wanted = normalize(markdown), normalize(check.text)
    if not check.case_sensitive:
        text, wanted = text.lower(), wanted.lower()
    if check.first_n and check.last_n:
        text = text[: check.first_n] + text[-check.last_n :]
    elif check.first_n:
        text = text[: check.first_n]
    elif check.last_n:
        text = text[-check.last_n :]
    # the ratio below would compare with a piece of the wanted text if the page has less
    if len(text) < len(wanted) - check.max_diffs:
        return False
    return fuzz.partial_ratio(wanted, text) / 100 >= 1 - check.max_diffs / max(1, len(wanted))


def _in_order(check: Check, markdown: str) -> bool:
    text = normalize(markdown)
    before = match_starts(normalize(check.before), text, check.max_diffs)
    after = match_starts(normalize(check.after), text, check.max_diffs)
    return bool(before and after) and before[0] < after[-1]


def _in_table(check: Check, markdown: str) -> bool:
    cell = normalize(check.cell)
    for table in find_tables(markdown):
        for place, text in table.cells.items():
            if _alike(cell, text, check.max_diffs) and _stands_so(check, table, place):
                return True
    return False


def _stands_so(check: Check, table: CellGrid, place: Place) -> bool:
    for name, down, right, all_the_way in (
        ("up", -1, 0, False),
        ("down", 1, 0, False),
        ("left", 0, -1, False),
        ("right", 0, 1, False),
        ("top_heading", -1, 0, True),
        ("left_heading", 0, -1, True),
    ):
        wanted = getattr(check, name)
        if not wanted:
            continue
        look = table.headings_of if all_the_way else table.neighbors
        there = look(place, down, right)
        if not any(_alike(normalize(wanted), text, check.max_diffs) for text in there):
            return False
    return True


def _alike(wanted: str, text: str, max_diffs: int) -> bool:
    least = max(MIN_TABLE_RATIO, 1 - max_diffs / max(1, len(wanted)))
    return fuzz.ratio(wanted, normalize(text)) / 100 >= least


_RULES: Mapping[CheckType, Callable[[Check, str], bool]] = {
    "present": _is_found,
    "absent": lambda check, markdown: not _is_found(check, markdown),
    "order": _in_order,
    "table": _in_table,
}
