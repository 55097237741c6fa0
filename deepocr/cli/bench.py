"""`deepocr bench`: how fast an engine reads on this machine. The project's benchmarks are in
measure/."""

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Sequence

from deepocr.cli.arguments import path
from deepocr.cli.engines import add_engine_argument, with_engine
from deepocr.errors import DeepOCRError
from deepocr.library.async_reader import AsyncReader
from deepocr.settings import load_settings
from deepocr.verification.samples import SAMPLES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The first round warms up and is not counted. A page's time is that of its reading, beside "
        "others where the engine reads several at once."
    )
    text = "PDFs and pictures (the report of three pages that comes with the package)"
    parser.add_argument("documents", nargs="*", type=path, metavar="FILE", help=text)
    add_engine_argument(parser)
    parser.add_argument("--task", default="markdown", help="as of deepocr read")
    parser.add_argument("--resolution", default="gundam", help="as of deepocr read")
    parser.add_argument("--rounds", type=int, default=3, help="readings of all files (3)")
    parser.add_argument("--json", action="store_true", help="one line of JSON")


def run(options: argparse.Namespace) -> int:
    """Returns 0 if every page was read, 1 if some failed, 2 if nothing could be tried."""
    try:
        engine = with_engine(load_settings(), options.engine).engine
        figures = asyncio.run(_measure(AsyncReader(engine, environment=True), options))
    except DeepOCRError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print(json.dumps(figures) if options.json else _told(figures))
    return 1 if figures["failed"] else 0


async def _measure(reader: AsyncReader, options: argparse.Namespace) -> dict[str, float | str]:
    documents = options.documents or [SAMPLES / "report.pdf"]
    asked = {"task": options.task, "resolution": options.resolution}
    page_s: list[float] = []
    failed, wall_s, name = 0, 0.0, ""
    async with reader:
        for number in range(max(1, options.rounds) + 1):
            started_s = time.perf_counter()
            results = [await reader.read(path, **asked) for path in documents]
            if number == 0:
                continue
            wall_s += time.perf_counter() - started_s
            name = results[0].engine
            pages = [page for result in results for page in result.pages]
            page_s += [page.seconds["total"] for page in pages if page.status != "failed"]
            failed += sum(page.status == "failed" for page in pages)
    return {
        "engine": name,
        "pages": len(page_s),
        "failed": failed,
        "pages_per_s": round(len(page_s) / wall_s, 3),
        "p50_s": round(percentile(page_s, 50), 3),
        "p99_s": round(percentile(page_s, 99), 3),
    }


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that is not exceeded by `percent` percent of the values."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def _told(figures: dict[str, float | str]) -> str:
    failed = f", {figures['failed']} failed" if figures["failed"] else ""
    return (
        f"{figures['engine']}: {figures['pages_per_s']} pages/s over {figures['pages']} "
        f"pages{failed}; "
        f"a page takes {figures['p50_s']} s (p50), {figures['p99_s']} s (p99)"
    )
