"""`deepocr serve`: the API, the web page and one worker; or parts of it."""

import argparse
import logging
import math
import os
import signal
import stat
import sys

from deepocr.errors import EngineBroken, EngineUnavailable, SettingsError
from deepocr.service.settings import ServiceSettings
from deepocr.service.work.supervisor import Supervisor
from deepocr.service.work.threads import EXIT_CANNOT_START, EXIT_ENGINE_BROKEN, start_thread
from deepocr.settings import load_settings_as

log = logging.getLogger("deepocr.service")

SWITCH_S = 0.0005


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 after a stop that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m deepocr.service", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # httpx would log the URLs that clients name
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = load_settings_as(ServiceSettings)
        _make_local_dir(settings)
    except SettingsError as error:
        log.error("%s", error)
        return EXIT_CANNOT_START
    if options.part == "worker-process":
        return _worker_process(settings, options)
    if options.part == "worker":
        return _worker(settings)
    return _serve(settings, options.host, options.port, with_worker=options.part == "all")


def _make_local_dir(settings: ServiceSettings) -> None:
    """Raises SettingsError when it cannot be made, or is a temporary one of somebody else."""
    folder, is_temporary = settings.local_dir, isinstance(settings.data_dir, str)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise SettingsError(
            f"DEEPOCR_DATA_DIR is {settings.data_dir}, and the folder {folder} cannot be made: "
            f"{error.strerror}; choose another one"
        ) from error
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    if is_temporary and not own:
        raise SettingsError(
            f"{folder} is not a folder of this user alone; remove it, or set TMPDIR to one of yours"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(dest="part", metavar="all|api|worker")
    for name, text in (
        ("all", "API, web page and one worker (the default)"),
        ("api", "API and web page; workers run elsewhere"),
    ):
        part = parts.add_parser(name, help=text)
        _add_address(part)
    parts.add_parser("worker", help="one worker, kept alive")
    process = parts.add_parser("worker-process")
    process.add_argument("worker_id")
    process.add_argument("alive_fd", type=int)
    process.add_argument("--probe", action="store_true")
    _add_address(parser)
    parser.set_defaults(part="all")


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for other machines")
    parser.add_argument("--port", type=int, default=8000)


def _worker_process(settings: ServiceSettings, options: argparse.Namespace) -> int:
    from deepocr.service.work.worker import run_worker

    try:
        return run_worker(settings, options.worker_id, options.alive_fd, probe=options.probe)
    except EngineUnavailable as error:
        log.error("%s", error)
        return EXIT_CANNOT_START
    except EngineBroken as error:
        log.error("%s", error)
        return EXIT_ENGINE_BROKEN


def _worker(settings: ServiceSettings) -> int:
    supervisor = Supervisor(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    return supervisor.run()


def _serve(settings: ServiceSettings, host: str, port: int, *, with_worker: bool) -> int:
    import uvicorn

    from deepocr.service.http.app import create_app

    # worker threads must not delay the loop that accepts new requests
    sys.setswitchinterval(SWITCH_S)
    config = uvicorn.Config(
        create_app(settings),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        # longer than clients and proxies keep a connection, so that they close it first
        timeout_keep_alive=75,
        timeout_graceful_shutdown=math.ceil(settings.stop_timeout_s),
    )
    server = uvicorn.Server(config)
    supervisor = Supervisor(settings)
    codes: list[int] = []

    def supervise() -> None:
        codes.append(supervisor.run())
        server.should_exit = True  # an API is useless when its worker cannot start

    # uvicorn handles these signals while it runs and raises them again after it has stopped
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    thread = start_thread(supervise, "supervisor") if with_worker else None
    try:
        server.run()
    finally:
        supervisor.stop()
        if thread is not None:
            thread.join()
    return EXIT_CANNOT_START if EXIT_CANNOT_START in codes else 0


if __name__ == "__main__":
    sys.exit(main())
