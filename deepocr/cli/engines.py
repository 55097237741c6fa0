"""Chooses the engine of a command."""

import argparse
import sys

from deepocr.engines.registry import ENGINES, best_here
from deepocr.settings import Settings


def with_engine(settings: Settings, named: str | None) -> Settings:
    """The settings with the engine that the command line or DEEPOCR_ENGINE names, or else the one
    that suits this machine; in that case, a line says which and why. Raises EngineUnavailable."""
    if named is None and "engine" in settings.model_fields_set:
        return settings
    if named is None:
        named, why = best_here()
        print(f"engine {named}: {why}; --engine or DEEPOCR_ENGINE names another", file=sys.stderr)
    return settings.model_copy(update={"engine": named})


def add_engine_argument(parser: argparse.ArgumentParser) -> None:
    text = "default: DEEPOCR_ENGINE, or what suits this machine"
    parser.add_argument("--engine", choices=list(ENGINES), help=text)
