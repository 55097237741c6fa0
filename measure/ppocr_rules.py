"""Which rules of the CPU reader's layout earn their place?

    python -m measure.ppocr_rules CHECKS.jsonl... [DOCUMENT...]

Finds and reads the lines of all pages once, then works out their layout with one rule after the
other switched off. For each rule: on how many pages the text changed, how many checks more or less
passed (negative: the rule is needed), and by how much the distance to reference texts changed.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from deepocr.documents import open_document
from deepocr.engines.ppocr import reader
from deepocr.engines.ppocr.engine import create
from deepocr.engines.ppocr.recognition import columns
from deepocr.engines.ppocr.recognition.lines import Stop, TextLine
from deepocr.engines.ppocr.recognition.models import Picture
from deepocr.engines.ppocr.structure import (
    furniture,
    graph_order,
    layout,
    paragraphs,
    reading_order,
)
from deepocr.engines.ppocr.structure.layout_model import Seen
from deepocr.engines.ppocr.structure.text import join_lines
from deepocr.engines.ppocr.tables import aligned, grid, gutters, heads, tabular, wrapped
from deepocr.evaluation.checks import Check, run_check
from deepocr.evaluation.run import load_set
from deepocr.evaluation.texts import error_rate, plain
from deepocr.settings import load_settings
from deepocr.tasks import make_job
from deepocr.types import Page


def _first(value: Any, *_: Any) -> Any:
    return value


def _always(value: Any) -> Callable[..., Any]:
    return lambda *_args, **_names: value


def _last_lines(_picture: Any, lines: Any, *_: Any) -> Any:
    return lines


Judge = furniture._Judge
RULES: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
    (columns, "_move_apart", _last_lines),
    (columns, "_part_like_neighbors", _first),
    (columns, "_part_at_strips", _last_lines),
    (furniture, "_watermarks", _always({})),
    (furniture, "margin_numbers", _always([])),
    (Judge, "_looks_so", _always(False)),
    (Judge, "_is_large", _always(False)),
    (Judge, "_is_page_of", _always(False)),
    (Judge, "_is_ruled_off", _always(False)),
    (Judge, "_is_spread", _always(False)),
    (Judge, "_stands_off", _always(False)),
    (layout, "_with_initials", lambda lines, _: (list(lines), [])),
    (layout, "_cuts_columns", _always(False)),
    (layout, "with_outer_cells", _first),
    (layout, "with_rows_beside", _first),
    (layout, "_fills", _always(False)),
    (layout, "_take_equations", lambda lines, _: ([], list(lines))),
    (layout, "_take_vertical", lambda lines: ([], list(lines))),
    (layout, "_says_something", _always(True)),
    (layout, "_join_lists", _first),
    (paragraphs, "_head_signs", _always(0)),
    (paragraphs.Style, "bold", _always(False)),
    (paragraphs, "_with_breaks", lambda rows, style: _joined(rows, style)),
    (reading_order, "_table", _always(None)),
    (reading_order, "_pop_beside", _always([])),
    (reading_order, "_is_tangled", _always(False)),
    (graph_order, "_is_gutter", _always(False)),
    (graph_order, "_spans", _always(False)),
    (gutters, "_parts_columns", _always(True)),
    (gutters, "_without_titles", _first),
    (gutters, "_without_spanning", _first),
    (gutters, "_around_columns", lambda strip, _: [strip]),
    (gutters, "_with_filled_columns", lambda found, _: sorted(found)),
    (grid, "holds_rows", _always(False)),
    (grid, "holds_numbers", _always(False)),
    (grid, "ends_early", _always(False)),
    (grid, "holds_prose", _always(False)),
    (grid, "_are_parted", _always(False)),
    (grid, "_drop_stray_edges", _first),
    (grid, "_drop_empty_edges", _first),
    (wrapped, "_goes_on", _always(False)),
    (heads, "_with_further_heads", lambda _rows, above, _inner: above),
    (heads, "_heads_over_numbers", _always(0)),
    (heads, "_rule_below", _always(None)),
    (heads, "_centered_over", lambda line, *_: (line.box_px[0], line.box_px[2])),
    (aligned, "holds_prose", _always(False)),
    (aligned, "_with_marks", _first),
    (aligned, "_parted_title", lambda line, _: [line]),
    (aligned, "_stands_apart", _always(False)),
    (aligned, "_names", _always(False)),
    (aligned, "_beyond", _always(False)),
    (aligned, "_ignores", _always(False)),
    (tabular, "_are_line_numbers", _always(False)),
)
"""Where a rule stands, its name, and what it is replaced by: as if it were not there."""


def _joined(rows: Any, style: Any) -> str:
    return join_lines([line for row in rows for line in row.lines], style.words)


@dataclass(frozen=True)
class Sheet:
    """A page as the layout gets it, and what is known of it."""

    picture: Picture
    lines: Sequence[TextLine]
    seen: Sequence[Seen]
    checks: Sequence[Check]
    reference: str | None

    def text(self) -> str:
        """Its Markdown, without what a renderer adds."""
        blocks = layout.find_blocks(self.picture, self.lines, self.seen)
        return "\n\n".join(
            block.markdown for block in blocks if block.label not in furniture.LABELS
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checks", nargs="+", type=Path, help="JSONL files of checks")
    sheets = list(_sheets(parser.parse_args(arguments).checks))
    usual = [sheet.text() for sheet in sheets]
    passed, error = _judge(sheets, usual)
    print(f"{len(sheets)} pages, {passed} checks passed, error rate {error:.4f}")
    print(f"{'rule':<40} {'pages':>5} {'checks':>6} {'error':>8}")
    for room, name, without in RULES:
        with mock.patch.object(room, name, without):
            texts = [sheet.text() for sheet in sheets]
        changed = sum(a != b for a, b in zip(texts, usual, strict=True))
        now_passed, now_error = _judge(sheets, texts)
        where = room.__name__.rsplit(".", 1)[-1]
        print(
            f"{where + '.' + name:<40} {changed:>5} {now_passed - passed:>+6} "
            f"{now_error - error:>+8.4f}",
            flush=True,
        )
    return 0


def _judge(sheets: Sequence[Sheet], texts: Sequence[str]) -> tuple[int, float]:
    """Checks that pass, and the mean error rate of pages with a reference text."""
    pairs = list(zip(sheets, texts, strict=True))
    passed = sum(run_check(check, text) for sheet, text in pairs for check in sheet.checks)
    errors = [error_rate(plain(s.reference), plain(text)) for s, text in pairs if s.reference]
    return passed, sum(errors) / max(1, len(errors))


def _sheets(paths: Sequence[Path]) -> Iterator[Sheet]:
    """Every page that something is known of."""
    settings = load_settings()
    engine = create(settings)
    labeled = [load_set([path], None, None) for path in paths]
    for labeled_set in labeled:
        for name, path in labeled_set.documents.items():
            with open_document(path, settings, dpi=settings.dpi) as document:
                for number in labeled_set.pages_of(name):
                    with _caught() as caught:
                        _read(engine, document.page(number))
                    if not caught:
                        continue
                    checks = [c for c in labeled_set.checks if (c.pdf, c.page) == (name, number)]
                    picture, lines, seen = caught
                    reference = labeled_set.references.get((name, number))
                    yield Sheet(picture, lines, seen, checks, reference)


def _read(engine: Any, page: Page) -> None:
    reader.read_page(engine._models, page, make_job(), Stop(), alone=True)


@contextmanager
def _caught() -> Iterator[list[Any]]:
    """What `find_blocks` is given meanwhile."""
    caught: list[Any] = []

    def catch(*given: Any) -> list[Any]:
        caught.extend(given)
        return []

    with mock.patch.object(reader, "find_blocks", catch):
        yield caught


if __name__ == "__main__":
    sys.exit(main())
