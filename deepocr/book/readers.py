"""Where a run reads: an engine in this process, or servers elsewhere."""

import argparse
import asyncio
import os
from collections.abc import Callable

from deepocr.engines.base import Engine
from deepocr.engines.registry import ENGINES, create_engine
from deepocr.engines.remote.cog_api import CogServer
from deepocr.engines.remote.engine import RemoteEngine, Retries, Server
from deepocr.errors import EngineUnavailable
from deepocr.settings import Settings

REMOTE_JOBS = 16
"""Requests under way at once when --jobs does not say."""


def add_arguments(group: argparse._ArgumentGroup) -> None:
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "--engine", choices=sorted(ENGINES), help="in this process; else DEEPOCR_ENGINE decides"
    )
    where.add_argument(
        "--url", action="append", metavar="URL", help="a Cog server; may be given several times"
    )
    where.add_argument(
        "--replicate",
        metavar="OWNER/MODEL[:VERSION]",
        help="Replicate's hosted API, with the token in REPLICATE_API_TOKEN",
    )
    group.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help=f"pages read at once (what the engine can use; {REMOTE_JOBS} at servers)",
    )
    group.add_argument(
        "--tries",
        type=positive,
        default=Retries.tries,
        metavar="N",
        help=f"most requests for one reading of a page at servers ({Retries.tries})",
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        default=600.0,
        metavar="S",
        help="seconds that a server may take for a page (600)",
    )


async def start(chosen: argparse.Namespace, settings: Settings) -> Engine:
    """The engine, ready. Raises EngineError when it cannot be had."""
    servers = _servers(chosen)
    if not servers:
        if chosen.engine:
            settings = settings.model_copy(update={"engine": chosen.engine})
        engine = await asyncio.to_thread(create_engine, settings)
    else:
        engine = RemoteEngine(servers, chosen.jobs or REMOTE_JOBS, Retries(tries=chosen.tries))
    if isinstance(engine, RemoteEngine):
        try:
            await engine.check()
        except BaseException:
            await engine.close()
            raise
    return engine


def _servers(chosen: argparse.Namespace) -> list[Server]:
    if chosen.url:
        return [CogServer(url, chosen.timeout) for url in chosen.url]
    if chosen.replicate:
        try:
            from deepocr.engines.remote.replicate_api import ReplicateModel
        except ImportError as error:
            raise EngineUnavailable(
                f"Replicate's client is not installed ({error}); pip install replicate"
            ) from error
        token = os.environ.get("REPLICATE_API_TOKEN", "")
        return [ReplicateModel(chosen.replicate, token, chosen.timeout)]
    return []


def positive(text: str) -> int:
    """For argparse: a whole number from 1 on."""
    return in_range(1, 1_000_000)(text)


def seconds(text: str) -> float:
    """For argparse: a time greater than 0."""
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds greater than 0")
    return value


def in_range(least: int, most: int) -> Callable[[str], int]:
    """For argparse: a whole number within bounds."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not from {least} to {most}")
        return value

    return number
