"""Types of arguments that several commands take."""

import argparse
from pathlib import Path


def some_text(text: str) -> str:
    """Text that is not empty: an unset variable of a script is no path."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; . is the current folder")
    return text


def path(text: str) -> Path:
    """A path, which is not the current folder when nothing is given."""
    return Path(some_text(text))
