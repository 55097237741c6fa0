"""`deepocr check`: checks a text by any program against the document from which it was read."""

import argparse
import asyncio
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from deepocr.book.progress import pages
from deepocr.check.documents import check_document
from deepocr.cli.arguments import path
from deepocr.engines.registry import create_engine
from deepocr.errors import DeepOCRError, InvalidInput
from deepocr.render.json import check_to_dict
from deepocr.settings import Settings, load_settings
from deepocr.types import PageCheck

SHOWN = 20
"""Most findings of a page that are printed."""

CONFIRMED, BAD_INPUT, FINDINGS = 0, 2, 3


def run(options: argparse.Namespace) -> int:
    """Returns 0 if all pages are confirmed, 3 with findings, 2 if nothing could be checked."""
    try:
        checks = asyncio.run(_check(options, load_settings()))
        if options.json:
            _write(options.json, checks)
    except DeepOCRError as error:
        print(f"check: {error}", file=sys.stderr)
        return BAD_INPUT
    for check in checks:
        _print(check)
    verdicts = Counter(check.verdict for check in checks)
    told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    print(f"{pages(len(checks))}: {told}")
    if verdicts["contradicted"] or verdicts["doubtful"]:
        return FINDINGS
    return CONFIRMED if verdicts["confirmed"] else BAD_INPUT


async def _check(options: argparse.Namespace, settings: Settings) -> list[PageCheck]:
    reader = None
    if not options.no_reader:
        plain = settings.model_copy(update={"engine": "ppocr", "ppocr_text_layer": False})
        reader = await asyncio.to_thread(create_engine, plain)
    try:
        return await check_document(
            options.document,
            options.text,
            settings,
            page=options.page,
            reader=reader,
            strictness=options.strict,
            password=options.password,
        )
    finally:
        if reader is not None:
            await reader.close()


def _print(check: PageCheck) -> None:
    print(f"page {check.page}: {check.verdict} ({check.witness}: {check.reason})")
    if check.coverage is not None and check.support is not None:
        print(f"  {check.coverage:.1%} of the page is in the text, {check.support:.1%} of the text")
    told = [finding for finding in check.findings if finding.kind != "furniture"]
    for finding in told[:SHOWN]:
        place = "({}, {}, {}, {})".format(*finding.box_px) if finding.box_px else "-"
        texts = " / ".join(repr(text) for text in (finding.witness, finding.text) if text)
        print(f"  {finding.kind:11} {place}: {texts}")
    if len(told) > SHOWN:
        print(f"  and {len(told) - SHOWN} more")


def _write(file: Path, checks: Sequence[PageCheck]) -> None:
    plain = {"pages": [check_to_dict(check) for check in checks]}
    try:
        file.write_text(json.dumps(plain, ensure_ascii=False, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise InvalidInput(f"{file.name!r} cannot be written: {error.strerror}") from error


def _strictness(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.1 <= value <= 10:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0.1 to 10")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit code: 0 confirmed, 3 findings, 2 bad input or nothing could be checked."
    parser.add_argument("document", type=path, help="PDF or picture")
    parser.add_argument(
        "--text",
        type=path,
        required=True,
        help="Markdown, plain text or raw output with tags; or a folder with a file a page",
    )
    parser.add_argument("--page", type=int, help="check this page only")
    parser.add_argument("--password", default="", help="of an encrypted PDF")
    parser.add_argument("--json", type=path, metavar="FILE", help="write all findings there")
    text = "2 tells of half as much (0.1 to 10)"
    parser.add_argument("--strict", type=_strictness, default=1.0, help=text)
    parser.add_argument("--no-reader", action="store_true", help="only the PDF's own text layer")
