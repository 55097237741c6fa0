"""The parts of the report. Each runs in a process of its own and returns what JSON can hold."""

import argparse
import contextlib
import io
import json
import platform
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from deepocr.engines.deepseek.config import OcrConfig, read_config
from deepocr.engines.deepseek.family import member_of
from deepocr.engines.deepseek.ops import plain_ops
from deepocr.engines.deepseek.ops.choice import FastOps, choose_ops, probed_ops
from deepocr.engines.deepseek.ops.probes import MAX_ERROR, Scene, difference
from deepocr.engines.deepseek.page_in_batch import PageInBatch, Token
from deepocr.engines.deepseek.sampling import NO_BAN
from measure.bench import deepseek as bench
from measure.bench.measures import Clock, read_bandwidth
from measure.gpu_report.cold_start import cold_start
from measure.parity import command as parity
from measure.plain_sequence import PlainSequence
from measure.stand_in_model import FAMILY, PUBLISHED, random_model, with_other_ops

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "parity" / "data" / "tiny"

PROFILED_STEPS = 20
TOP_KERNELS = 25
COMPARED_TOKENS = 24


@dataclass(frozen=True)
class Setup:
    """Where, and at what size: `tiny` is for trying the report itself without a GPU."""

    device: torch.device
    tiny: bool
    folder: Path

    @property
    def config(self) -> OcrConfig:
        """The published one, or a small network with the same vocabulary."""
        if not self.tiny:
            return PUBLISHED
        small = read_config(TINY)
        vocabulary = {"vocab_size": PUBLISHED.decoder.vocab_size}
        decoder = small.decoder.model_copy(update=vocabulary)
        return small.model_copy(update={"decoder": decoder})

    @property
    def on_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def batches(self) -> list[int]:
        return [1, 4] if self.tiny else [1, 4, 16, 64]


def machine(setup: Setup) -> dict[str, Any]:
    """What this is, and what it has."""
    found: dict[str, Any] = {
        "device": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: _installed(name) for name in ("triton", "flash-attn", "transformers", "numpy")},
        "C compiler (Triton needs one)": shutil.which("gcc") or shutil.which("cc") or "none",
    }
    if setup.on_cuda:
        properties = torch.cuda.get_device_properties(setup.device)
        found |= {
            "device": properties.name,
            "compute capability": f"{properties.major}.{properties.minor}",
            "memory, GB": round(properties.total_memory / 1e9, 1),
            "multiprocessors": properties.multi_processor_count,
            "CUDA of PyTorch": torch.version.cuda,
            "driver": _driver(),
        }
    found["a plain read, GB/s"] = round(read_bandwidth(setup.device) / 1e9, 1)
    return found


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown: {error}"


def probes(setup: Setup) -> dict[str, Any]:
    """Which version of each operation runs here, and why no better one does, for each type."""
    found = {}
    for dtype in MAX_ERROR:
        report = _ops(setup, dtype).report
        found[str(dtype).removeprefix("torch.")] = {
            "versions": report.versions,
            "notes": report.notes,
            "seconds": round(report.seconds["probe"], 2),
        }
    return found


def _ops(setup: Setup, dtype: torch.dtype) -> FastOps:
    """Probed even where there is nothing to be found."""
    if setup.on_cuda:
        return choose_ops(setup.config, setup.device, dtype)
    return probed_ops(Scene(setup.config, setup.device, dtype))


def parity_tiny(setup: Setup) -> dict[str, Any]:
    """The official model's numbers by the fast path."""
    found = {}
    for dtype in ("fp32", "bf16"):
        arguments = [str(TINY), "--device", str(setup.device), "--path", "fast", "--dtype", dtype]
        checks = parity.run(parity.parse_arguments(arguments))
        found[dtype] = {
            "checks": len(checks),
            "misses": [f"{c.case} {c.what}: {c.found}, not {c.wanted}" for c in checks if not c.ok],
        }
    return _judged(found, all(not one["misses"] for one in found.values()))


@torch.inference_mode()
def parity_full(setup: Setup) -> dict[str, Any]:
    """The fast path against the plain one at full size: features, logits, tokens in a batch."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        ops = _ops(setup, dtype)
        plain = random_model(setup.config, plain_ops(), device=setup.device, dtype=dtype)
        fast = with_other_ops(plain, ops.network)
        pages = bench.make_pages(_presets(setup.config), "gundam", 3)
        features = [bench.encode_plain(model, pages[0]) for model in (fast, plain)]
        prompt = bench.make_prompt(pages[0])
        sequence = PlainSequence(plain, prompt, COMPARED_TOKENS)
        writing = sequence.write(sequence.prefill(features[1]), NO_BAN, bench.NO_END)
        wanted = [one.token for one in writing]
        engine = bench.Bench(fast, ops, "none", pages, COMPARED_TOKENS, 1.0, wanted)
        reader = engine.reader(len(pages))
        readings = engine.submit(reader, len(pages), COMPARED_TOKENS)
        found[str(dtype).removeprefix("torch.")] = {
            "features off by": float(f"{difference(*features):.2g}"),
            "same tokens, with two pages beside": bench.same_start(
                bench.drain(reader)[readings[0]], wanted
            ),
        }
        del plain, fast, engine, reader, readings, sequence, writing
    exact = found["float32"]["same tokens, with two pages beside"]
    return _judged(found, exact == f"{COMPARED_TOKENS} of {COMPARED_TOKENS}")


def _presets(config: OcrConfig) -> Mapping[str, Any]:
    return member_of(config).presets


def bench_base(setup: Setup) -> dict[str, Any]:
    """The engine, the plain path and transformers' decoder, on Base pages."""
    return _bench(setup, "base")


def bench_gundam(setup: Setup) -> dict[str, Any]:
    """The engine alone, on Gundam pages."""
    return _bench(setup, "gundam", "--alone")


def _bench(setup: Setup, preset: str, *more: str) -> dict[str, Any]:
    FAMILY["deepseek-ocr"] = setup.config
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    batches = ",".join(map(str, setup.batches))
    arguments = ["--device", str(setup.device), "--preset", preset, "--batches", batches]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        bench.run(parser.parse_args([*arguments, *more]))
    report: dict[str, Any] = json.loads(printed.getvalue())
    return report


@torch.inference_mode()
def steps(setup: Setup) -> dict[str, Any]:
    """What a decode step launches, and how long each kernel takes."""
    ops = _ops(setup, torch.bfloat16)
    model = random_model(setup.config, ops.network, device=setup.device, dtype=torch.bfloat16)
    tokens = 6 * PROFILED_STEPS
    launches = _launches(setup)
    found = {}
    for batch in (setup.batches[0], setup.batches[-1]):
        pages = bench.make_pages(_presets(setup.config), "base", batch)
        engine = bench.Bench(model, ops, "none", pages, tokens, 1.0, ())
        reader = engine.reader(batch)
        readings = engine.submit(reader, batch, tokens)
        _until_all_write(reader, readings)
        clock = Clock(setup.device)
        for _ in range(PROFILED_STEPS):
            reader.step()
        step_s = clock.lap() / PROFILED_STEPS
        kernels = _profile(setup, reader)
        found[f"batch {batch}"] = {
            "microseconds a step": round(step_s * 1e6, 1),
            "nodes a step": round(sum(row["a step"] for row in kernels)),
            "launches by reading": launches.get(batch, "not counted"),
            "kernels": kernels[:TOP_KERNELS],
        }
        del engine, reader, readings
    return found


def _launches(setup: Setup) -> dict[int, int]:
    """As `bench.py launches` counts them at the published size; nothing without Triton."""
    from measure.bench.launches import count_launches

    try:
        counted = count_launches("deepseek-ocr", setup.batches)
    except ImportError:
        return {}
    return {batch: len(found.names) for batch, found in counted.items()}


def _until_all_write(reader: Any, readings: list[PageInBatch]) -> None:
    waiting = set(readings)
    while waiting:
        for reading, update in reader.step():
            if isinstance(update, Token):
                waiting.discard(reading)


def _profile(setup: Setup, reader: Any) -> list[dict[str, Any]]:
    """Launches and microseconds a step by kernel, the costliest first."""
    activity = torch.profiler.ProfilerActivity
    activities = [activity.CUDA if setup.on_cuda else activity.CPU]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(PROFILED_STEPS):
            reader.step()
        if setup.on_cuda:
            torch.cuda.synchronize(setup.device)
    rows = []
    for event in profile.key_averages():
        spent = event.self_device_time_total if setup.on_cuda else event.self_cpu_time_total
        if spent > 0:
            rows.append(
                {
                    "kernel": event.key[:100],
                    "a step": round(event.count / PROFILED_STEPS, 2),
                    "microseconds": round(spent / PROFILED_STEPS, 2),
                }
            )
    return sorted(rows, key=lambda row: -row["microseconds"])


def cold(setup: Setup) -> dict[str, Any]:
    """From nothing to a page, weights in the page cache; then from a picture to a token."""
    return cold_start(setup.config, setup.device, setup.folder)


def gpu_tests(setup: Setup) -> dict[str, Any]:
    """tests/gpu, which is all of the tests that needs a device."""
    import pytest

    file = setup.folder / "tests.xml"
    arguments = ["-q", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={file}"]
    pytest.main([*arguments, str(ROOT / "tests" / "gpu")])
    cases = list(ElementTree.parse(file).iter("testcase"))
    faults = {
        f"{case.get('classname')}.{case.get('name')}": (fault.get("message") or "")[:500]
        for case in cases
        for fault in (*case.iter("failure"), *case.iter("error"))
    }
    skipped = sum(1 for case in cases if case.find("skipped") is not None)
    counted = {"tests": len(cases), "skipped": skipped, "failed": faults}
    return _judged(counted, not faults and (len(cases) > skipped or not setup.on_cuda))


def _judged(found: dict[str, Any], sound: bool) -> dict[str, Any]:
    return {**found, "sound": sound}


@dataclass(frozen=True)
class Part:
    """`limit_s` is when it is ended."""

    title: str
    run: Callable[[Setup], dict[str, Any]]
    limit_s: float


PARTS: dict[str, Part] = {
    "machine": Part("The machine", machine, 60),
    "probes": Part("Which operations work", probes, 90),
    "parity-tiny": Part("The official numbers by the fast path", parity_tiny, 120),
    "bench-base": Part("Base", bench_base, 150),
    "bench-gundam": Part("Gundam", bench_gundam, 120),
    "steps": Part("A decode step", steps, 90),
    "cold-start": Part("Cold start", cold, 120),
    "parity-full": Part("Fast against plain at full size", parity_full, 90),
    "tests": Part("tests/gpu", gpu_tests, 150),
}
"""In the order of running: what tells most comes first, should time run out."""


def run_part(name: str, setup: Setup) -> None:
    """Writes NAME.json to the folder."""
    found = PARTS[name].run(setup)
    (setup.folder / f"{name}.json").write_text(json.dumps(found))
    sys.stderr.flush()
