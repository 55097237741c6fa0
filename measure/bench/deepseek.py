"""The `deepseek` engine on stand-in weights of the published size, against two others in one run.

(a) the plain path: one page at a time, plain PyTorch; (b) transformers' implementation of the same
decoder with `generate`, over the same weights. Decode steps of all three take turns token by
token, so that other work on the machine falls on all. What is written is noise; how many tokens
agree with the plain path is told. A table goes to standard error, one JSON line to standard output.
"""

import argparse
import gc
import json
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from deepocr.engines.deepseek.threads import THREAD_SETTINGS  # before torch: sets them

# isort: split
import numpy as np
import torch
from PIL import Image

from deepocr.engines.deepseek.batching import BatchedReader
from deepocr.engines.deepseek.build import choose_device, make_reader
from deepocr.engines.deepseek.cpu import pack_for_cpu
from deepocr.engines.deepseek.family import member_of
from deepocr.engines.deepseek.kv_cache import BLOCK_TOKENS
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import plain_ops
from deepocr.engines.deepseek.ops.choice import FastOps, choose_ops
from deepocr.engines.deepseek.ops.packed import Quantize
from deepocr.engines.deepseek.page_in_batch import PageInBatch, Token
from deepocr.engines.deepseek.sampling import NO_BAN
from deepocr.engines.deepseek.tokens import Prompt
from deepocr.engines.deepseek.vision import PreparedPage, prepare
from deepocr.tasks import Preset, find_preset
from measure.bench.launches import count_launches
from measure.bench.measures import Clock, peak_bytes, read_bandwidth, step_bytes
from measure.bench.transformers_decoder import transformers_decoder
from measure.plain_sequence import PlainSequence
from measure.stand_in_model import FAMILY, random_model, with_other_ops

NO_END = -1
TEXT_TOKENS = 12
"""Prompt tokens around the picture, about as many as the tasks have."""

WARM_UP_TOKENS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench.py deepseek`."""
    parser.add_argument("--model", choices=FAMILY, default="deepseek-ocr", help="(deepseek-ocr)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ...")
    parser.add_argument("--batches", type=_numbers, help="default: 1,4,16,64; on the CPU 1,4")
    parser.add_argument("--preset", default="base", help="resolution of the pages (base)")
    parser.add_argument("--tokens", type=int, help="written a page: 800 on CUDA, 24 on the CPU")
    parser.add_argument(
        "--quantize", type=_kinds, default=["none"], help="on the CPU, such as none,int8,int4"
    )
    parser.add_argument(
        "--alone", action="store_true", help="the engine only, for its memory: no (a), no (b)"
    )


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _kinds(text: str) -> list[Quantize]:
    known: dict[str, Quantize] = {"none": "none", "int8": "int8", "int4": "int4"}
    try:
        return [known[part] for part in text.split(",")]
    except KeyError as error:
        raise argparse.ArgumentTypeError(f"{error} is none of {', '.join(known)}") from error


@torch.inference_mode()
def run(options: argparse.Namespace) -> int:
    """Measures, prints the table and one JSON line."""
    device = choose_device(options.device)
    on_cuda = device.type == "cuda"
    batches = options.batches or ([1, 4, 16, 64] if on_cuda else [1, 4])
    tokens = options.tokens or (800 if on_cuda else 24)
    config = FAMILY[options.model]
    pages = make_pages(member_of(config).presets, options.preset, max(batches))
    ops = choose_ops(config, device, torch.bfloat16)
    base = random_model(config, plain_ops(), device=device, dtype=torch.bfloat16)
    report: dict[str, Any] = {
        "bench": "deepseek",
        "model": options.model,
        "machine": describe(device),
        "preset": options.preset,
        "prompt_tokens": pages[0].num_slots + TEXT_TOKENS,
        "new_tokens": tokens,
        "read_gb_s": round(read_bandwidth(device) / 1e9, 1),
        "engines": [],
    }
    if on_cuda:
        launches = count_launches(options.model, batches)
        report["nodes"] = {batch: len(found.names) for batch, found in launches.items()}
    written: list[int] = []
    if not options.alone:
        report["plain"], written = measure_plain(base, pages[0], tokens)
    for quantize in options.quantize:
        # alone, the packed weights take the place of the first
        model = with_other_ops(base, ops.network)
        if options.alone:
            del base
        if not on_cuda:
            pack_for_cpu(model, ops.products, quantize)
        engine = Bench(model, ops, quantize, pages, tokens, report["read_gb_s"] * 1e9, written)
        entry = engine.measure(batches)
        if not options.alone:
            entry["turns"] = take_turns(base, engine, min(tokens, 64))
        report["engines"].append(entry)
        del model, engine
        gc.collect()
        if options.alone:
            break
    print_table(report)
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


def make_pages(presets: Mapping[str, Preset], name: str, how_many: int) -> list[PreparedPage]:
    """A4 pages of noise, each of its own."""
    generator = np.random.default_rng(0)
    preset = presets[find_preset(name).title]
    found = []
    for _ in range(min(how_many, 8)):
        values = generator.integers(0, 255, (1754, 1240, 3), dtype=np.uint8)
        found.append(prepare(Image.fromarray(values), preset))
    return [found[index % len(found)] for index in range(how_many)]


def make_prompt(page: PreparedPage, number: int = 0) -> Prompt:
    text = [(number * 131 + 17 * at) % 100_000 for at in range(1, TEXT_TOKENS)]
    return Prompt((0, *[128815] * page.num_slots, *text), 1, page.num_slots)


def measure_plain(
    model: OcrModel, page: PreparedPage, tokens: int
) -> tuple[dict[str, Any], list[int]]:
    """(a): seconds of one page in each stage, and what it writes."""
    clock = Clock(model.device)
    started_s = time.process_time()
    features = encode_plain(model, page)
    vision_s = clock.lap()
    prompt = make_prompt(page)
    sequence = PlainSequence(model, prompt, tokens)
    writing = sequence.write(sequence.prefill(features), NO_BAN, NO_END)
    written = [next(writing).token]
    prefill_s = clock.lap()
    processor_s = time.process_time() - started_s
    written += [one.token for one in writing]
    step_s = clock.lap() / max(1, tokens - 1)
    found = {
        "vision_s": round(vision_s, 3),
        "prefill_s": round(prefill_s, 3),
        "first_token_s": round(vision_s + prefill_s, 3),
        "first_token_processor_s": round(processor_s, 3),
        "ms_per_token": round(step_s * 1e3, 2),
    }
    return found, written


def encode_plain(model: OcrModel, page: PreparedPage) -> torch.Tensor:
    def encode(pixels: torch.Tensor) -> torch.Tensor:
        return model.encode(pixels.to(model.device, model.dtype))

    overview = encode(page.overview[None])[0]
    tiles = None if page.tiles is None else encode(page.tiles)
    return model.fill_slots(overview, tiles, page.grid)


@dataclass
class Bench:
    """Our engine on one kind of weights."""

    model: OcrModel
    ops: FastOps
    quantize: Quantize
    pages: Sequence[PreparedPage]
    tokens: int
    read_bytes_s: float
    plain: Sequence[int]

    def measure(self, batches: Sequence[int]) -> dict[str, Any]:
        """Each batch size with a reader of its own."""
        return {
            "weights": "bf16" if self.quantize == "none" else self.quantize,
            "batches": [self._measure_batch(batch) for batch in batches],
        }

    def reader(self, batch: int) -> BatchedReader:
        length = len(make_prompt(self.pages[0]).ids) + self.tokens
        blocks = batch * -(-length // BLOCK_TOKENS) + batch + 1
        return make_reader(
            self.model, self.ops, end_id=NO_END, max_sequences=batch, num_blocks=blocks
        )

    def submit(self, reader: BatchedReader, batch: int, tokens: int) -> list[PageInBatch]:
        return [
            reader.submit(make_prompt(page, number), page, tokens)
            for number, page in enumerate(self.pages[:batch])
        ]

    def _measure_batch(self, batch: int) -> dict[str, Any]:
        device = self.model.device
        reader = self.reader(batch)
        if device.type == "cuda":
            # kernels are compiled and workspaces made before anything is measured
            self.submit(reader, batch, WARM_UP_TOKENS)
            drain(reader)
            torch.cuda.reset_peak_memory_stats(device)
        started_s = time.process_time()
        self.submit(reader, 1, 1)
        drain(reader)
        processor_s = time.process_time() - started_s
        clock = Clock(device)
        reader.vision.encode(self.pages[:batch])
        vision_s = clock.lap()
        readings = self.submit(reader, batch, self.tokens)
        written = drain(reader)
        whole_s = clock.lap()
        submitted_s = readings[0].times["submitted"]
        first_s = [reading.times["first token"] - submitted_s for reading in readings]
        end_s = max(reading.times["done"] for reading in readings) - submitted_s
        # from the moment when all are being written
        after = sum(max(0, self.tokens - 1) for _ in readings)
        step_s = (end_s - max(first_s)) / max(1, self.tokens - 1)
        floor_s = step_bytes(self.model, self.quantize, batch, self._mid_length()) / (
            self.read_bytes_s
        )
        return {
            "batch": batch,
            "vision_s": round(vision_s, 3),
            "first_token_s": round(min(first_s), 3),
            "first_token_processor_s": round(processor_s, 3),
            "all_first_tokens_s": round(max(first_s), 3),
            "prefill_s": round(max(0, max(first_s) - vision_s), 3),
            "ms_per_step": round(step_s * 1e3, 3),
            "tokens_s": round(after / (end_s - max(first_s)), 1),
            "pages_s": round(batch / whole_s, 3),
            "peak_gb": round(peak_bytes(device) / 1e9, 2),
            "floor_share": round(floor_s / step_s, 3),
            "same_tokens": same_start(written[readings[0]], self.plain),
        }

    def _mid_length(self) -> int:
        return len(make_prompt(self.pages[0]).ids) + self.tokens // 2


def drain(reader: BatchedReader) -> dict[PageInBatch, list[int]]:
    written: dict[PageInBatch, list[int]] = defaultdict(list)
    while not reader.idle:
        for reading, update in reader.step():
            if isinstance(update, Token):
                written[reading].append(update.token)
    return written


class Turns:
    """A streamer for `generate`: after each of its tokens, the others take one step each."""

    def __init__(self, device: torch.device, others: Mapping[str, Callable[[], object]]) -> None:
        self.others = others
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.cpu_seconds: dict[str, list[float]] = defaultdict(list)
        self.clock = Clock(device)
        self.last_cpu_s = time.process_time()

    def put(self, _value: object) -> None:
        self._note("transformers")
        self.step_others()

    def step_others(self) -> None:
        for name, step in self.others.items():
            step()
            self._note(name)

    def _note(self, name: str) -> None:
        """Time since the last note; processor time as well, which other work hardly touches."""
        now_s = time.process_time()
        self.cpu_seconds[name].append(now_s - self.last_cpu_s)
        self.last_cpu_s = now_s
        self.seconds[name].append(self.clock.lap())

    def end(self) -> None:
        pass


def take_turns(base: OcrModel, engine: Bench, tokens: int) -> dict[str, Any]:
    """Decode steps at batch 1: ours, the plain path's and transformers', one after the other."""
    page = engine.pages[0]
    prompt = make_prompt(page)
    features = encode_plain(base, page)
    sequence = PlainSequence(base, prompt, tokens + 2)
    writing = sequence.write(sequence.prefill(features), NO_BAN, NO_END)
    reader = engine.reader(1)
    reading = reader.submit(prompt, page, tokens + 2)
    plain, ours = [next(writing).token], list[int]()

    def plain_step() -> None:
        plain.append(next(writing).token)

    def our_step() -> None:
        # a turn may only launch a step; the next one brings its token
        while not (updates := reader.step()):
            pass
        ours.extend(update.token for _, update in updates if isinstance(update, Token))

    our_step()  # the first token, with picture and prompt
    turns = Turns(base.device, {"plain": plain_step, "ours": our_step})
    try:
        theirs = transformers_decoder(base)
    except ImportError as error:
        sys.stderr.write(f"transformers has no such decoder here: {error}\n")
        for _ in range(tokens):
            turns.step_others()
    else:
        ids = torch.tensor(prompt.ids, device=base.device)
        embedded = base.embed(ids, features, prompt.first_slot)[None]
        theirs.generate(
            inputs_embeds=embedded,
            attention_mask=torch.ones(1, len(ids), device=base.device),
            max_new_tokens=tokens,
            do_sample=False,
            streamer=turns,
        )
    reader.cancel(reading)
    # the first turns hold the prefill, and steps that find nothing in place
    return {
        "wall": compare({name: median(times[2:]) for name, times in turns.seconds.items()}),
        "processor": compare(
            {name: median(times[2:]) for name, times in turns.cpu_seconds.items()}
        ),
        "same_tokens": same_start(ours, plain),
    }


def compare(steps_s: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Milliseconds a token, and how many times ours is faster than the others."""
    return {
        "ms_per_token": {name: round(step_s * 1e3, 2) for name, step_s in steps_s.items()},
        "times_faster_than": {
            name: round(step_s / steps_s["ours"], 2)
            for name, step_s in steps_s.items()
            if name != "ours"
        },
    }


def same_start(ours: Sequence[int], plain: Sequence[int]) -> str:
    """How many tokens agree before the first that does not: rounding in bf16 decides between
    tokens of equal logits, and after one such tie the texts differ."""
    pairs = list(zip(ours, plain, strict=False))
    same = next((at for at, (one, other) in enumerate(pairs) if one != other), len(pairs))
    return f"{same} of {len(pairs)}"


def describe(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type} {name}",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "openmp": dict(THREAD_SETTINGS),
    }


def print_table(report: Mapping[str, Any]) -> None:
    """What the JSON line says, to be read."""
    lines = [f"{report['machine']['device']}, {report['preset']}, {report['new_tokens']} tokens"]
    if plain := report.get("plain"):
        lines.append(
            f"plain: vision {plain['vision_s']} s, first token {plain['first_token_s']} s "
            f"(processor {plain['first_token_processor_s']} s), "
            f"{plain['ms_per_token']} ms a token"
        )
    if nodes := report.get("nodes"):
        lines.append(f"kernels a decode step, by batch: {nodes}")
    columns = (
        *("batch", "vision_s", "prefill_s", "first_token_s", "ms_per_step", "tokens_s"),
        *("pages_s", "peak_gb", "floor_share", "first_token_processor_s"),
    )
    for engine in report["engines"]:
        lines.append(
            f"{engine['weights']:<8}"
            + "".join(f"{name.replace('processor', 'cpu'):>17}" for name in columns)
        )
        for entry in engine["batches"]:
            lines.append(" " * 8 + "".join(f"{entry[name]:>17}" for name in columns))
        if turns := engine.get("turns"):
            lines += [
                f"        in turns at batch 1, {kind}: {found}" for kind, found in turns.items()
            ]
    sys.stderr.write("\n".join(lines) + "\n")
