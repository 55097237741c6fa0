"""How many planted faults are found, and on how many clean pages something is told.

python -m measure.check samples/labeled [FOLDER_OR_PDF...] [--no-reader] [--set held-out|tuned]
    [--strictness 0.5 1 2] [--cache FOLDER] [--misses]
"""

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deepocr.check.compare import compare
from deepocr.check.reading import read_regions
from deepocr.check.thresholds import FOR_WITNESS
from deepocr.check.witness import Witness
from deepocr.engines.registry import create_engine
from deepocr.parsing.grounding import parse_regions
from deepocr.settings import load_settings
from deepocr.types import PageCheck
from measure.check.faults import FAULTS, Case, written
from measure.check.pages import KnownPage, describe, known_pages, neighbors, sentences


@dataclass
class Score:
    """Of one witness at one strictness: faults planted and found, clean pages and alarms."""

    planted: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    pages: int = 0
    alarms: int = 0
    seconds: list[float] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    files: list[Path] = []
    for place in options.places:
        files += sorted(place.glob("*.pdf")) if place.is_dir() else [place]
    pages = asyncio.run(_pages(files, options))
    foreign = sentences(pages)
    chosen = [page for page in pages if page.held_out == (options.set == "held-out")]
    others = neighbors(pages)
    print(f"{len(chosen)} pages ({options.set}) of {len(pages)}: {describe(chosen)}")
    for number, name in enumerate(("text layer", "ppocr")):
        if number and options.no_reader:
            break
        scores = {}
        for strictness in options.strictness:
            score = scores[strictness] = Score()
            for page in chosen:
                if page.witnesses[number].name == name:
                    _try(
                        page,
                        others[f"{page.name}:{page.number}"],
                        foreign,
                        page.witnesses[number],
                        strictness,
                        score,
                    )
        _print(name, scores)
        if options.misses:
            print("\n".join(miss for score in scores.values() for miss in score.misses))


async def _pages(files: Sequence[Path], options: argparse.Namespace) -> list[KnownPage]:
    if options.no_reader:
        return await known_pages(None, files, None, options.max_pages)
    settings = load_settings().model_copy(update={"engine": "ppocr"})
    engine = create_engine(settings)
    try:
        return await known_pages(engine, files, options.cache, options.max_pages)
    finally:
        await engine.close()


def _try(
    page: KnownPage,
    other: KnownPage,
    foreign: Sequence[str],
    witness: Witness,
    strictness: float,
    score: Score,
) -> None:
    thresholds = FOR_WITNESS[witness.name].scaled(strictness)
    place = f"{page.name} {page.number}"

    def check(text: str) -> PageCheck:
        started_s = time.process_time()
        reading = read_regions(parse_regions(text, page.size_px))
        checked = compare(page.number, page.size_px, reading, witness, thresholds)
        score.seconds.append(time.process_time() - started_s)
        return checked

    clean = check(written(page.blocks))
    score.pages += 1
    if clean.verdict != "confirmed":
        score.alarms += 1
        told = [f for f in clean.findings if f.kind != "furniture"]
        score.misses += [f"{place}: clean, {f.kind} {f.witness!r} {f.text!r}" for f in told[:4]]
    own = written(page.blocks)
    invented = [sentence for sentence in foreign if sentence not in own]
    for name, (plant, kinds) in FAULTS.items():
        # the same fault for each witness and each strictness
        text = plant(Case(page, other, invented, random.Random(f"{place} {name}")))
        if text is None or text == own:
            continue
        score.planted[name] += 1
        findings = Counter(f.kind for f in check(text).findings if f.kind in kinds)
        before = Counter(f.kind for f in clean.findings if f.kind in kinds)
        if findings - before:
            score.found[name] += 1
        else:
            score.misses.append(f"{place}: {name} not found")


def _print(name: str, scores: dict[float, Score]) -> None:
    print(f"\n| {name}, strictness | " + " | ".join(f"{s:g}" for s in scores) + " |")
    print("|---|" + "---|" * len(scores))
    for fault in FAULTS:
        cells = [
            f"{score.found[fault] / score.planted[fault]:.1%} of {score.planted[fault]}"
            if score.planted[fault]
            else ""
            for score in scores.values()
        ]
        print(f"| {fault} | " + " | ".join(cells) + " |")
    cells = [f"{s.alarms / s.pages:.1%} of {s.pages}" if s.pages else "" for s in scores.values()]
    print("| **clean pages with an alarm** | " + " | ".join(cells) + " |")
    cells = [
        f"{1e3 * sorted(s.seconds)[len(s.seconds) // 2]:.0f} / "
        f"{1e3 * sorted(s.seconds)[int(0.95 * len(s.seconds))]:.0f}"
        if s.seconds
        else ""
        for s in scores.values()
    ]
    print("| CPU ms a page, median / 95 % | " + " | ".join(cells) + " |")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("places", nargs="+", type=Path, help="PDFs, or folders of them")
    parser.add_argument("--no-reader", action="store_true", help="the text layer only")
    parser.add_argument("--set", choices=["held-out", "tuned"], default="held-out")
    parser.add_argument("--strictness", nargs="+", type=float, default=[1.0])
    parser.add_argument("--max-pages", type=int, default=50, help="of one document")
    parser.add_argument("--cache", type=Path, help="keeps what the CPU reader read")
    parser.add_argument("--misses", action="store_true", help="list what was not found")
    return parser
