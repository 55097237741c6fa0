"""Hold the network against numbers from the official implementation; see docs/parity.md.

scripts/parity.py FOLDER                        a checkpoint and its cases in one folder
scripts/parity.py --full CONFIG --cases FOLDER  stand-in weights for a config.json
scripts/parity.py --full CONFIG --witness PICTURE  the same, against transformers' own model
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from deepocr.engines.deepseek.checkpoint import SafetensorsFolder, TensorSource, load_model
from deepocr.engines.deepseek.config import read_config
from deepocr.engines.deepseek.cpu import pack_for_cpu
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import Ops, plain_ops
from deepocr.engines.deepseek.ops.choice import choose_ops
from deepocr.errors import DeepOCRError
from measure.parity.batched import BatchedImplementation
from measure.parity.stages import (
    LIMITS,
    Case,
    Check,
    Implementation,
    PlainImplementation,
    compare,
    read_cases,
)
from measure.parity.witness import hold_against_witness
from measure.stand_in_weights import stand_in_weights

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> int:
    """0 when everything agrees, 1 at a miss, 2 when it could not be tried."""
    options = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        checks = run(options)
    except DeepOCRError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    misses = [check for check in checks if not check.ok]
    print(f"\n{len(checks) - len(misses)} of {len(checks)} checks agree")
    for miss in misses:
        print(f"MISS {miss.case} {miss.what}: {miss.found}, wanted {miss.wanted}")
    return 1 if misses or not checks else 0


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="config.json, weights and cases")
    parser.add_argument(
        "--full", type=Path, metavar="CONFIG", help="config.json for stand-in weights"
    )
    parser.add_argument(
        "--cases", type=Path, metavar="FOLDER", help="cases, where they lie elsewhere"
    )
    parser.add_argument("--gain", type=float, default=1.0, help="of the stand-in weights (1.0)")
    parser.add_argument("--case", action="append", help="only this case; may be given again")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--path",
        choices=["plain", "fast"],
        default="plain",
        help="plain: one page, step by step; fast: the engine's operations, in a ragged batch",
    )
    parser.add_argument(
        "--rope-rates",
        choices=DTYPES,
        help="rotary rates as the official code had them: fp32, or rounded to bf16 as its cast of\n"
        "the whole model leaves them (the default with --full; see docs/parity.md)",
    )
    parser.add_argument(
        "--witness",
        type=Path,
        metavar="PICTURE",
        help="with --full: hold against transformers' model of the same weights, on this picture",
    )
    parser.add_argument("--preset", default="base", help="with --witness (base)")
    parser.add_argument("--tokens", type=int, default=16, help="with --witness (16)")
    options = parser.parse_args(arguments)
    if (options.folder is None) == (options.full is None):
        parser.error("give a FOLDER, or --full CONFIG with --cases FOLDER")
    if options.full and not (options.cases or options.witness):
        parser.error("--full needs --cases FOLDER or --witness PICTURE")
    if options.witness and not options.full:
        parser.error("--witness needs --full CONFIG")
    return options


def run(options: argparse.Namespace) -> list[Check]:
    """All checks of all cases, printed as they are made."""
    if options.witness:
        return run_witness(options)
    cases = read_cases(options.cases or options.folder)
    if options.case:
        cases = [case for case in cases if case.name in options.case]
    limits = LIMITS[DTYPES[options.dtype]]
    implementation = build(options, cases)
    checks = []
    print(f"{'case':<18}{'what':<24}{'found':<20}{'wanted':<20}")
    for case in cases:
        started_s = time.perf_counter()
        for check in compare(implementation, case, limits):
            checks.append(check)
            show(check)
        print(f"{case.name[:17]:<18}{time.perf_counter() - started_s:.1f} s", flush=True)
    return checks


def show(check: Check) -> None:
    verdict = "ok" if check.ok else "MISS"
    found, wanted = check.found[:18], check.wanted[:18]
    print(f"{check.case[:17]:<18}{check.what:<24}{found:<20}{wanted:<20}{verdict}")


def run_witness(options: argparse.Namespace) -> list[Check]:
    """The checks of one picture against transformers, printed."""
    config = read_config(options.full)
    image_id = config.decoder.vocab_size - 24
    found = hold_against_witness(
        config, options.witness, options.preset, image_id, options.tokens, DTYPES[options.dtype]
    )
    checks = list(found)
    for check in checks:
        show(check)
    return checks


def build(options: argparse.Namespace, cases: Sequence[Case]) -> Implementation:
    """The chosen path over the chosen weights."""
    device, dtype = torch.device(options.device), DTYPES[options.dtype]
    config = read_config(options.full or options.folder)
    fast = choose_ops(config, device, dtype) if options.path == "fast" else None
    ops = fast.network if fast else plain_ops()
    model = load(options, ops, device, dtype)
    if fast is None:
        return PlainImplementation(model)
    if device.type == "cpu" and dtype == torch.bfloat16:
        pack_for_cpu(model, fast.products)
    return BatchedImplementation(model, fast, cases)


def load(
    options: argparse.Namespace, ops: Ops, device: torch.device, dtype: torch.dtype
) -> OcrModel:
    # convolutions on CUDA otherwise have 10 bits of fraction, even in float32
    torch.backends.cudnn.allow_tf32 = False
    config = read_config(options.full or options.folder)
    source: TensorSource = (
        stand_in_weights(config, options.gain)
        if options.full
        else SafetensorsFolder(options.folder)
    )
    model = load_model(config, source, ops, device=device, dtype=dtype)
    rates = options.rope_rates or ("bf16" if options.full else "fp32")
    print(f"rotary rates in {rates}, everything else in {options.dtype}")
    model.decoder.rotary.prepare(device, DTYPES[rates])
    return model
