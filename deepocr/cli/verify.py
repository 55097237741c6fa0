"""`deepocr verify`: is this installation sound? Reads samples in every way the engine can."""

import argparse
import asyncio
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

from deepocr.cli.arguments import path
from deepocr.cli.engines import add_engine_argument, with_engine
from deepocr.engines.base import Engine
from deepocr.engines.registry import create_engine
from deepocr.errors import DeepOCRError
from deepocr.pipeline import warm_up
from deepocr.settings import Settings, load_settings
from deepocr.tasks import PRESETS, TASKS, find_preset, find_task
from deepocr.verification.checks import TrialOutcome, plan, run_check
from deepocr.verification.samples import SAMPLES, load_samples

EXIT_SOUND = 0
EXIT_UNSOUND = 1
EXIT_CANNOT_SAY = 2

HEAD = (
    f"{'sample':<14} {'task':<26} {'preset':<8} {'pages':>5} {'CER':>6} {'tokens':>7} "
    f"{'seconds':>8} {'RAM GB':>7} {'GPU GB':>7}  "
)


def run(chosen: argparse.Namespace) -> int:
    """Returns 0 if the installation is sound, 1 if not, 2 if nothing could be read at all."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        settings = with_engine(load_settings(), chosen.engine)
        return asyncio.run(verify(settings, chosen))
    except DeepOCRError as error:
        print(f"verify: {error}", file=sys.stderr)
        return EXIT_CANNOT_SAY


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Read samples with every task and preset that the engine has, and say whether this "
        "installation is sound."
    )
    parser.epilog = "Exit code: 0 sound, 1 not sound, 2 the engine or samples cannot be had."
    slugs = ", ".join(task.slug for task in TASKS.values())
    presets = ", ".join(preset.slug for preset in PRESETS.values())
    add_engine_argument(parser)
    parser.add_argument("--samples", type=path, default=SAMPLES, help="documents with NAME.txt")
    parser.add_argument("--task", action="append", default=[], help=f"only these: {slugs}")
    parser.add_argument("--resolution", action="append", default=[], help=f"only: {presets}")
    parser.add_argument("--json", type=path, help="write every outcome to this file too")


async def verify(settings: Settings, chosen: argparse.Namespace) -> int:
    """Loads the engine, reads, prints a line for each check, then the verdict."""
    samples = load_samples(chosen.samples)
    tasks = [find_task(name).title for name in chosen.task]
    presets = [find_preset(name).title for name in chosen.resolution]
    started_s = time.perf_counter()
    engine: Engine = await asyncio.to_thread(create_engine, settings)
    outcomes: list[TrialOutcome] = []
    try:
        await warm_up(engine)
        ready_s = time.perf_counter() - started_s
        print(f"engine {engine.capabilities.engine}, loaded and warm in {ready_s:.1f} s")
        for name, note in engine.capabilities.notes.items():
            print(f"{name}: {note}")
        print(HEAD)
        for check in plan(samples, engine.capabilities, tasks, presets):
            outcome = await run_check(engine, check, settings)
            outcomes.append(outcome)
            print(line_of(outcome), flush=True)
    finally:
        await engine.close()
    if chosen.json:
        chosen.json.write_text(json.dumps([summary(outcome) for outcome in outcomes], indent=1))
    return verdict(outcomes)


def line_of(outcome: TrialOutcome) -> str:
    """A check's outcome as a row of the table."""
    check = outcome.check
    rate = "-" if outcome.error_rate is None else f"{outcome.error_rate:.3f}"
    gpu = outcome.peak_bytes.get("gpu")
    return (
        f"{check.sample.path.name:<14.14} {check.task:<26} {check.preset.split()[0]:<8} "
        f"{len(check.pages):>5} {rate:>6} {outcome.output_tokens or '-':>7} "
        f"{outcome.seconds:>8.2f} {outcome.peak_bytes.get('ram', 0) / 1e9:>7.2f} "
        f"{'-' if gpu is None else f'{gpu / 1e9:.2f}':>7}  "
        f"{'NOT SOUND' if outcome.problems else 'ok'}"
    )


def summary(outcome: TrialOutcome) -> dict[str, object]:
    """A check's outcome in plain types, for programs."""
    check = outcome.check
    named = {"sample": check.sample.path.name, "task": check.task, "preset": check.preset}
    figures = {key: value for key, value in asdict(outcome).items() if key != "check"}
    return {**named, "pages": len(check.pages), **figures}


def verdict(outcomes: Sequence[TrialOutcome]) -> int:
    """Prints what is wrong, if anything, and the answer; returns the exit code."""
    broken = [outcome for outcome in outcomes if outcome.problems]
    for outcome in broken:
        check = outcome.check
        for problem in outcome.problems:
            print(f"{check.sample.path.name}, {check.task}, {check.preset}: {problem}")
    if not outcomes:
        print("nothing was read: this engine has none of the tasks asked for")
        return EXIT_CANNOT_SAY
    if broken:
        print(f"NOT SOUND: {len(broken)} of {len(outcomes)} checks failed")
        return EXIT_UNSOUND
    print(f"sound: {len(outcomes)} checks passed")
    return EXIT_SOUND
