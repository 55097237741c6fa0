"""`deepocr mcp`: documents for agents, over the Model Context Protocol."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from deepocr.cli.arguments import path
from deepocr.cli.engines import add_engine_argument, with_engine
from deepocr.errors import DeepOCRError, InvalidInput
from deepocr.library.async_reader import AsyncReader
from deepocr.mcp_server import make_server
from deepocr.settings import load_settings

MAX_PAGES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "whose documents may be read (the current one)"
    parser.add_argument("folders", nargs="*", metavar="FOLDER", type=path, help=text)
    add_engine_argument(parser)
    text = f"that one call may read ({MAX_PAGES})"
    parser.add_argument("--max-pages", type=int, default=MAX_PAGES, metavar="N", help=text)


def run(options: argparse.Namespace) -> int:
    """Returns 0 when the agent disconnects. Only the protocol uses standard output."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    folders = options.folders or [Path()]
    try:
        for folder in folders:
            if not folder.is_dir():
                raise InvalidInput(f"{folder} is no folder; name those whose documents may be read")
        engine = with_engine(load_settings(), options.engine).engine
        reader = AsyncReader(engine, environment=True, max_pages=options.max_pages)
    except DeepOCRError as error:
        print(f"mcp: {error}", file=sys.stderr)
        return 2
    asyncio.run(make_server(reader, folders).run_stdio_async())
    return 0
