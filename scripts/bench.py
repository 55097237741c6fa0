"""Measure speed: `bench.py SUBJECT`, one JSON line to standard output.

Each subject is a module of measure.bench with `add_arguments(parser)` and `run(options)`, which
writes the figures and returns the exit status; it is imported only when it is asked for.
"""

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deepocr.errors import DeepOCRError

SUBJECTS: Mapping[str, str] = {
    "documents": "pages drawn in line, in one process and in two, and who waits meanwhile",
    "book": "the PDF helper's own work for a page, and how busy it keeps a server",
    "ppocr": "the CPU reader against rapidocr called directly",
    "deepseek": "the DeepSeek-OCR engine against the official code's way",
    "graph": "graphs of what the others measured",
    "launches": "how many kernels one of its decode steps launches; needs no GPU",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The subject's exit status; 2 when the figures could not be had."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    for name, about in SUBJECTS.items():
        subject = subjects.add_parser(name, help=about, description=about)
        if given[:1] == [name]:
            importlib.import_module(f"measure.bench.{name}").add_arguments(subject)
    options = parser.parse_args(given)
    try:
        status: int = importlib.import_module(f"measure.bench.{options.subject}").run(options)
    except DeepOCRError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
