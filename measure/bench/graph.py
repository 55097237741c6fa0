"""Graphs of measured figures: JSON lines of other benches in, SVG out. Nothing else is drawn."""

import argparse
import html
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDTH, LABEL_PX, VALUE_PX, BAR_PX, GAP_PX = 720, 170, 90, 15, 9
COLORS = ("#0b62c4", "#9aa5b1", "#d08a2e")
"""Ours first."""

KINDS = {"present": "text that must be there", "absent": "text that must not", "order": "order",
         "table": "cells of tables"}  # fmt: skip


@dataclass(frozen=True)
class Bars:
    """One graph: for each row a bar a series, from 0 to the largest value."""

    title: str
    note: str
    series: Sequence[str]
    rows: Mapping[str, Sequence[tuple[float, str]]]

    def svg(self) -> str:
        """Text in the color of the page's own text is not to be had in an `img`: on white."""
        most = max(value for bars in self.rows.values() for value, _ in bars)
        scale = (WIDTH - LABEL_PX - VALUE_PX) / most
        parts = [_text(10, 24, self.title, size=15, weight=600), _text(10, 42, self.note, "#555")]
        x = LABEL_PX
        for name, color in zip(self.series, COLORS, strict=False):
            parts += [f'<rect x="{x}" y="53" width="11" height="11" fill="{color}"/>']
            parts += [_text(x + 16, 63, name)]
            x += 40 + 7 * len(name)
        y = 78
        for label, bars in self.rows.items():
            parts.append(_text(10, y + BAR_PX * len(bars) / 2 + 4, label))
            for (value, shown), color in zip(bars, COLORS, strict=False):
                width = max(1.0, value * scale)
                parts += [
                    f'<rect x="{LABEL_PX}" y="{y}" width="{width:.1f}" height="{BAR_PX - 2}" '
                    f'fill="{color}"/>',
                    _text(LABEL_PX + width + 6, y + 11, shown),
                ]
                y += BAR_PX
            y += GAP_PX
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" '
            f'height="{y}" font-family="system-ui, sans-serif" font-size="12">\n'
            f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
        )


def _text(
    x: float, y: float, text: str, color: str = "#222", *, size: int = 12, weight: int = 400
) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" fill="{color}" font-size="{size}" '
        f'font-weight="{weight}">{html.escape(text)}</text>'
    )


def _ppocr(report: Mapping[str, Any]) -> Iterable[tuple[str, Bars]]:
    one, machine = report["one_page"], report["machine"]
    # medians of pairs measured right after each other: other figures hang on what else the machine
    # does, as threads of the library spin while they wait
    shares = {
        "one page, lines alone": one["plain_ratio_median"],
        "one page to Markdown": one["ratio_median"],
    }
    rows = {name: [(share, f"{share:.2f}"), (1.0, "1.00")] for name, share in shares.items()}
    note = (
        f"{report['pages']} pages, measured in turns on {machine['cores']} cores, "
        f"1-minute load {machine['load']:.0f}; the library's time is 1"
    )
    series = ("deepocr, engine ppocr", "rapidocr called directly")
    yield "ppocr-speed", Bars("The CPU reader: time, less is better", note, series, rows)
    if "quality" in report:
        readers = report["quality"]
        checks = {
            name: [_share(reader[kind]) for reader in readers] for kind, name in KINDS.items()
        }
        names = ["deepocr, engine ppocr", *(reader["reader"] for reader in readers[1:])]
        note = "checks passed on samples/labeled, pages of our own that it was tuned on"
        yield (
            "ppocr-quality",
            Bars("The CPU reader: what is read, more is better", note, names, checks),
        )


def _share(passed: str) -> tuple[float, str]:
    right, total = map(int, passed.split("/"))
    return right / total, passed


GRAPHS: Mapping[str, Callable[[Mapping[str, Any]], Iterable[tuple[str, Bars]]]] = {"ppocr": _ppocr}
"""By the bench that measured."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench.py graph`."""
    parser.add_argument("reports", nargs="+", type=Path, help=f"JSON of: {', '.join(GRAPHS)}")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="(docs/pictures)")


def run(options: argparse.Namespace) -> int:
    """Writes an SVG for each graph; returns the exit status."""
    for path in options.reports:
        report = json.loads(path.read_text())
        for name, bars in GRAPHS[report["bench"]](report):
            (options.out / f"{name}.svg").write_text(bars.svg())
            sys.stderr.write(f"{options.out / name}.svg\n")
    return 0
