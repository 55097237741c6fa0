"""Where a run reads: with an engine in this process, or at remote servers."""

import argparse
import asyncio
import os
from collections.abc import Callable

from deepocr.engines.base import Engine
from deepocr.engines.registry import ENGINES, create_engine
from deepocr.errors import EngineUnavailable
from deepocr.settings import Settings

REMOTE_JOBS = 16
"""Number of concurrent requests to servers when --jobs is not given."""

SERVICE_KEY = "OCR_SERVICE_KEY"
"""The environment variable with the API key for --service."""

TRIES = 16
TIMEOUT_S = 600.0
PAGE_TIMEOUT_S = 3600.0


def add_arguments(group: argparse._ArgumentGroup) -> None:
    where, add = group.add_mutually_exclusive_group().add_argument, group.add_argument
    text = "in this process; else DEEPOCR_ENGINE, else what suits this machine"
    where("--engine", choices=sorted(ENGINES), help=text)
    text = "a Cog server; may be given several times"
    where("--url", action="append", metavar="URL", help=text)
    text = f"this project's HTTP service; its API key, if any, in {SERVICE_KEY}"
    where("--service", action="append", metavar="URL", help=text)
    text = "Replicate's hosted API, with the token in REPLICATE_API_TOKEN"
    where("--replicate", metavar="OWNER/MODEL[:VERSION]", help=text)
    text = f"pages read at once (what the engine can use; {REMOTE_JOBS} at servers)"
    add("--jobs", type=positive, metavar="N", help=text)
    text = f"most requests for one reading of a page at servers ({TRIES})"
    add("--tries", type=positive, default=TRIES, metavar="N", help=text)
    text = f"seconds that a server may take for a page ({TIMEOUT_S:.0f})"
    add("--timeout", type=seconds, default=TIMEOUT_S, metavar="S", help=text)
    text = (
        f"seconds that one reading of a page may take in this process ({PAGE_TIMEOUT_S:.0f}); "
        "at servers --timeout bounds it, this only when given"
    )
    add("--page-timeout", type=seconds, metavar="S", help=text)


def page_timeout_s(chosen: argparse.Namespace) -> float | None:
    """Limit in seconds for one reading of a page; None if only the limit for servers applies."""
    return chosen.page_timeout or (None if is_elsewhere(chosen) else PAGE_TIMEOUT_S)


def is_elsewhere(chosen: argparse.Namespace) -> bool:
    """Whether servers read the pages instead of this process."""
    return bool(chosen.url or chosen.service or chosen.replicate)


async def start(chosen: argparse.Namespace, settings: Settings) -> tuple[Engine, int]:
    """The engine, ready to read, and how many pages to give it at once.

    Servers are given a few more pages than --jobs, so that the next ones are ready to be sent.
    Raises EngineError if the engine cannot be started.
    """
    if not is_elsewhere(chosen):
        local = await asyncio.to_thread(create_engine, settings)
        return local, chosen.jobs or local.capabilities.concurrency
    try:
        remote = await _start_remote(chosen)
    except ImportError as error:
        raise EngineUnavailable(
            f"reading at servers needs more packages ({error}); install deepocr[books]"
        ) from error
    return remote, remote.capabilities.concurrency


async def _start_remote(chosen: argparse.Namespace) -> Engine:
    """An engine that reads at servers; each server is checked before any page is sent."""
    # imported only here: reading in this process does not need their packages
    from deepocr.engines.remote.cog_api import CogServer
    from deepocr.engines.remote.engine import RemoteEngine, Retries
    from deepocr.engines.remote.servers import Server

    servers: list[Server]
    if chosen.replicate:
        from deepocr.engines.remote.replicate_api import ReplicateModel

        token = os.environ.get("REPLICATE_API_TOKEN", "")
        servers = [ReplicateModel(chosen.replicate, token, chosen.timeout)]
    elif chosen.service:
        from deepocr.engines.remote.service_api import TaskService

        key = os.environ.get(SERVICE_KEY, "")
        servers = [TaskService(url, chosen.timeout, key) for url in chosen.service]
    else:
        servers = [CogServer(url, chosen.timeout) for url in chosen.url]
    engine = RemoteEngine(servers, chosen.jobs or REMOTE_JOBS, Retries(tries=chosen.tries))
    try:
        await engine.check()
    except BaseException:
        await engine.close()
        raise
    return engine


def positive(text: str) -> int:
    """An argparse type: a whole number from 1 to a million."""
    return in_range(1, 1_000_000)(text)


def seconds(text: str) -> float:
    """An argparse type: a number of seconds greater than 0."""
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds greater than 0")
    return value


def in_range(least: int, most: int) -> Callable[[str], int]:
    """An argparse type for whole numbers from `least` to `most`."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not from {least} to {most}")
        return value

    return number
