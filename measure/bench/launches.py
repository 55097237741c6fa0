"""How many kernels a decode step launches, counted without a device; see measure.launches."""

import argparse
import json
import sys
from collections.abc import Sequence

from deepocr.engines.deepseek.family import member_of
from deepocr.engines.deepseek.sampling import NGramBan
from measure.launches import Launches, decode_launches, meta_runner
from measure.stand_in_model import FAMILY


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench.py launches`."""
    parser.add_argument("--model", choices=FAMILY, default="deepseek-ocr", help="(deepseek-ocr)")


def count_launches(model: str, batches: Sequence[int]) -> dict[int, Launches]:
    """Of one decode step of each batch, with the model's own ban."""
    config = FAMILY[model]
    runner = meta_runner(config, NGramBan(*member_of(config).ban))
    return {batch: decode_launches(runner, batch) for batch in batches}


def run(options: argparse.Namespace) -> int:
    """Prints the kernels of each kind and one JSON line."""
    nodes = {}
    for batch, found in count_launches(options.model, (1, 4, 64)).items():
        nodes[batch] = len(found.names)
        kinds = ", ".join(f"{count} {name}" for name, count in found.by_name.most_common())
        sys.stderr.write(f"batch {batch}: {nodes[batch]} nodes: {kinds}\n")
    sys.stdout.write(json.dumps({"bench": "launches", "model": options.model, "nodes": nodes}))
    sys.stdout.write("\n")
    return 0
