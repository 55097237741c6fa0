"""Fetches the published DeepSeek-OCR weights, or says that whole ones are there already.

    python scripts/download_weights.py [FOLDER] [--source auto|pget|hub]

FOLDER is where checkpoints live; the weights land in FOLDER/DeepSeek-OCR. Everything else comes
from the environment (DEEPOCR_CHECKPOINTS, DEEPOCR_WEIGHTS_URL, ...). Interrupt it at will: half a
download is never taken for weights, and the next run resumes or removes it.
"""

import argparse
import logging
import sys
from pathlib import Path

from deepocr.errors import DeepOCRError
from deepocr.settings import load_settings
from deepocr.weights.download import ensure_weights


def main(arguments: list[str] | None = None) -> int:
    """0 when whole weights are in place, 1 with the reason on stderr otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="default: DEEPOCR_CHECKPOINTS")
    parser.add_argument("--source", choices=["auto", "pget", "hub"], help="how to fetch them")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        settings = load_settings()
        chosen = {"checkpoints": options.folder, "weights_source": options.source}
        given = {name: value for name, value in chosen.items() if value is not None}
        print(ensure_weights(settings.model_copy(update=given)))
    except DeepOCRError as error:
        print(f"download_weights: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
