"""`deepocr serve`: `python -m deepocr.service`, with the engine that suits this machine."""

import argparse
import os
import sys

from deepocr.cli.engines import with_engine
from deepocr.errors import EngineUnavailable
from deepocr.settings import PREFIX, load_settings_as

if sys.platform == "win32":
    raise EngineUnavailable("the service runs on Linux and macOS; on Windows use WSL or Docker")

from deepocr.service import __main__ as service
from deepocr.service.settings import ServiceSettings

add_arguments = service.add_arguments


def run(options: argparse.Namespace) -> int:
    """The service's exit code."""
    if options.part in ("all", "worker"):
        # for the worker, which is a process of its own
        engine = with_engine(load_settings_as(ServiceSettings), None).engine
        os.environ[f"{PREFIX}ENGINE"] = engine
    return service.run(options)
