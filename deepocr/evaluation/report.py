"""Scores as a table for people and as JSON for programs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from deepocr.evaluation.checks import CHECK_TYPES
from deepocr.evaluation.run import Score
from deepocr.tasks import PRESETS, TASKS


def score_table(scores: Sequence[Score]) -> str:
    """A line for each way to read, best first."""
    heads = ["engine", "task", "preset", *CHECK_TYPES, "all", "CER", "edit dist.", "s a page"]
    rows = [heads]
    for score in sorted(scores, key=_share, reverse=True):
        rows.append(
            [
                score.engine,
                TASKS[score.job.task].slug,
                PRESETS[score.job.preset].slug,
                *(f"{score.passed[kind]}/{score.total[kind]}" for kind in CHECK_TYPES),
                f"{sum(score.passed.values())}/{sum(score.total.values())}",
                _rate(score.error_rate),
                _rate(score.edit_distance),
                f"{score.seconds_a_page:.2f}",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    ignored = scores[0].ignored if scores else {}
    if ignored:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(ignored.items()))
        lines.append(f"not checked: {kinds}")
    return "\n".join(lines)


def score_json(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Plain data, one object for each way to read."""
    return [asdict(score) for score in scores]


def _share(score: Score) -> float:
    return sum(score.passed.values()) / max(1, sum(score.total.values()))


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
