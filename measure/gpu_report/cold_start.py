"""A checkpoint of the published form is written; a new process then starts the engine from it."""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file

from deepocr.engines.base import Engine
from deepocr.engines.deepseek.checkpoint import published_places
from deepocr.engines.deepseek.config import OcrConfig
from deepocr.engines.deepseek.ops import plain_ops
from deepocr.engines.registry import create_engine
from deepocr.pipeline import read_page, warm_up
from deepocr.settings import Settings
from deepocr.tasks import make_job
from deepocr.types import Page
from measure.stand_in_model import random_model
from tests.tiny_checkpoint import DATA, SPECIALS, make_tokenizer

IMAGE_ID = 128815
ROUNDS = 5


def cold_start(config: OcrConfig, device: torch.device, folder: Path) -> dict[str, Any]:
    """Seconds of a start by stage, of a process that does nothing else; and of first tokens."""
    with TemporaryDirectory(dir=folder) as checkpoint:
        write_checkpoint(config, device, Path(checkpoint))
        command = [sys.executable, "-m", "measure.gpu_report.cold_start", checkpoint, str(device)]
        run = subprocess.run([*command, str(time.time())], stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@torch.inference_mode()
def write_checkpoint(config: OcrConfig, device: torch.device, folder: Path) -> None:
    """Noise under the published names; after this it is in the page cache."""
    model = random_model(config, plain_ops(), device=device, dtype=torch.bfloat16)
    parameters = dict(model.named_parameters())
    tensors = {
        name: place.slot(parameters[place.parameter]).to("cpu", torch.bfloat16).contiguous().clone()
        for name, place in published_places(model).items()
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(published_form(config)))
    shutil.copyfile(DATA / "tokenizer_config.json", folder / "tokenizer_config.json")
    shift = IMAGE_ID - SPECIALS["<image>"]
    specials = {text: at + shift if at >= 1000 else at for text, at in SPECIALS.items()}
    make_tokenizer(specials).save(str(folder / "tokenizer.json"))


def published_form(config: OcrConfig) -> dict[str, Any]:
    """The tree of a config.json."""
    widths = {"sam_vit_b": config.sam.model_dump(), "clip-l-14-224": config.encoder.model_dump()}
    return {
        "vision_config": {"width": widths},
        "projector_config": config.projector.model_dump(),
        "language_config": config.decoder.model_dump(),
    }


async def start(checkpoint: Path, device: str, began_s: float) -> dict[str, Any]:
    """In the new process, whose command was given at `began_s`."""
    imported_s = time.time()
    engine = create_engine(Settings(checkpoints=checkpoint, device=device))
    created_s = time.time()
    await warm_up(engine)
    read_s = time.time()
    found: dict[str, Any] = {
        "engine": engine.capabilities.engine,
        "notes": dict(engine.capabilities.notes),
        "stages, s": {
            "Python and imports": round(imported_s - began_s, 2),
            **{name: round(s, 2) for name, s in engine.capabilities.start_s.items()},
            "the engine's start": round(created_s - imported_s, 2),
            "a page of four tokens": round(read_s - created_s, 2),
            "from the command to that page": round(read_s - began_s, 2),
        },
        "picture to first token, ms": {},
    }
    for preset in ("base", "gundam"):
        times = [await _first_token_s(engine, preset) for _ in range(ROUNDS + 1)]
        found["picture to first token, ms"][preset] = round(median(times[1:]) * 1e3, 1)
    await engine.close()
    return found


async def _first_token_s(engine: Engine, preset: str) -> float:
    """From the bytes of a picture."""
    buffer = BytesIO()
    Image.effect_noise((1240, 1754), 60).convert("RGB").save(buffer, "PNG")
    buffer.seek(0)
    began_s = time.perf_counter()
    with Image.open(buffer) as picture:
        page = Page(1, picture.convert("RGB"))
    result = await read_page(engine, page, make_job("free", preset=preset, max_new_tokens=1))
    if result.status == "failed":
        raise RuntimeError(result.error)
    return time.perf_counter() - began_s


if __name__ == "__main__":
    folder, device, began_s = sys.argv[1:]
    sys.stdout.write(json.dumps(asyncio.run(start(Path(folder), device, float(began_s)))))
