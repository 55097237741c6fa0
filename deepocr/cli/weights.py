"""`deepocr weights`: downloads the published weights, or says that they are already complete.

FOLDER holds the checkpoints; the weights are put into FOLDER/DeepSeek-OCR. Everything else comes
from the environment (DEEPOCR_CHECKPOINTS, DEEPOCR_WEIGHTS_URL, ...). It may be interrupted at any
time: an incomplete download is never used as weights, and the next run resumes or removes it.
"""

import argparse
import logging
import sys

from deepocr.cli.arguments import path
from deepocr.errors import DeepOCRError
from deepocr.settings import load_settings
from deepocr.weights.download import ensure_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", type=path, help="default: DEEPOCR_CHECKPOINTS")
    parser.add_argument("--source", choices=["auto", "pget", "hub"], help="how to fetch them")


def run(options: argparse.Namespace) -> int:
    """Returns 0 if complete weights are in place, else 1, with the reason on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        settings = load_settings()
        chosen = {"checkpoints": options.folder, "weights_source": options.source}
        given = {name: value for name, value in chosen.items() if value is not None}
        print(ensure_weights(settings.model_copy(update=given)))
    except DeepOCRError as error:
        print(f"weights: {error}", file=sys.stderr)
        return 1
    return 0
