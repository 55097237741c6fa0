"""`deepocr evaluate`: which engine, task and preset reads your documents best?

CHECKS.jsonl has checks in olmOCR-bench's form; reference texts are NAME.txt beside the documents.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence

from deepocr.cli.arguments import path
from deepocr.cli.engines import add_engine_argument, with_engine
from deepocr.engines.registry import create_engine
from deepocr.errors import DeepOCRError
from deepocr.evaluation.report import score_json, score_table
from deepocr.evaluation.run import LabeledSet, Score, evaluate, load_set
from deepocr.settings import Settings, load_settings
from deepocr.tasks import PRESETS, TASKS, find_task, make_job


def run(options: argparse.Namespace) -> int:
    """Returns 0 if every page was read, 1 if some failed, 2 if nothing could be tried."""
    try:
        settings = with_engine(load_settings(), options.engine)
        labeled = load_set(options.checks, options.documents, options.references)
        scores = asyncio.run(_evaluate_all(settings, labeled, options.task, options.resolution))
    except DeepOCRError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    print(score_table(scores))
    if options.failed:
        for score in scores:
            print(f"\n{score.engine}, {score.job.task}, {score.job.preset} failed:")
            print("\n".join(f"  {name}" for name in score.failed_checks) or "  none")
    if options.json:
        options.json.write_text(json.dumps(score_json(scores), indent=2) + "\n", "utf-8")
    return 1 if any(score.failed_pages for score in scores) else 0


async def _evaluate_all(
    settings: Settings, labeled: LabeledSet, tasks: Sequence[str], presets: Sequence[str]
) -> list[Score]:
    jobs = [make_job(task, preset=preset) for task in tasks for preset in presets]
    engine = create_engine(settings)
    try:
        return [await evaluate(engine, labeled, job, settings) for job in jobs]
    finally:
        await engine.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checks", nargs="+", type=path, help="JSONL files of checks")
    parser.add_argument("--documents", type=path, help="folder (default: that of the checks)")
    parser.add_argument("--references", type=path, help="folder of NAME.txt reference texts")
    add_engine_argument(parser)
    tasks = [task.slug for task in TASKS.values() if not task.needs_reference]
    parser.add_argument("--task", nargs="+", choices=tasks, default=[find_task("markdown").slug])
    presets = [preset.slug for preset in PRESETS.values()]
    parser.add_argument("--resolution", nargs="+", choices=presets, default=["gundam"])
    parser.add_argument("--json", type=path, help="write the scores there too")
    parser.add_argument("--failed", action="store_true", help="list the checks that failed")
