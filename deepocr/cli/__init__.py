# PYTHON_ARGCOMPLETE_OK
"""The command `deepocr`, with a module of this package for each subcommand.

Each module has `add_arguments(parser)` and `run(options)`, which returns the exit status. Only the
module of the chosen subcommand is imported.
"""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deepocr import __version__
from deepocr.errors import DeepOCRError

COMMANDS: Mapping[str, str] = {
    "read": "read PDFs and pictures into Markdown, page by page, and lose none",
    "corpus": "any number of documents, on a Ray cluster, into Parquet: one row a page",
    "serve": "the HTTP service: API, web page, queue and workers",
    "mcp": "documents for agents, over the Model Context Protocol",
    "check": "hold any text against the document that it was read from",
    "evaluate": "which engine, task and preset reads your documents best",
    "verify": "is this installation sound? reads samples in every way that the engine can",
    "bench": "how fast an engine reads on this machine",
    "weights": "fetch the published weights, or say that whole ones are there",
}

EXTRAS: Mapping[str, str] = {
    "corpus": "corpus",
    "serve": "service",
    "mcp": "mcp",
    "check": "ppocr",
    "evaluate": "ppocr",
}
"""What to install for a command that needs more than the package alone."""

EXIT_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; argparse ends the program if the command line is
    wrong."""
    _prepare_streams()
    completing = "_ARGCOMPLETE" in os.environ
    if completing:
        arguments = os.environ["COMP_LINE"].split()[1:]
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="deepocr", description="Pictures of pages in, text with boxes out."
    )
    parser.add_argument("--version", action="version", version=f"deepocr {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    try:
        for name, about in COMMANDS.items():
            command = commands.add_parser(name, help=about, description=f"{about}.")
            if given[:1] == [name]:
                module = importlib.import_module(f"deepocr.cli.{name}")
                module.add_arguments(command)
                command.set_defaults(run=module.run)
        if completing:
            import argcomplete

            argcomplete.autocomplete(parser)  # ends the process
        for word in given:
            if word.startswith("--") and word.endswith("=--"):  # argparse would make it a list
                parser.error(f"{word}: -- is no value")
        options = parser.parse_args(given)
        status: int = options.run(options)
    except BrokenPipeError:
        # the reader of our output has closed the pipe; Python would complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except DeepOCRError as error:  # for commands that do not report it themselves
        parser.exit(2, f"deepocr: {error}\n")
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(given[0])
        if extra is None or (error.name or "").startswith("deepocr"):
            raise
        parser.exit(2, f"deepocr: {error.name} is missing; pip install 'deepocr[{extra}]'\n")
    return status


def _prepare_streams() -> None:
    """Standard streams that are closed are empty, and the output takes file names that are no
    text, as standard error does."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - until the end
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
