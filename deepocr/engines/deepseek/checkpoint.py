"""Published weights into the network, in one pass.

Names and shapes are those of the published checkpoints. Each tensor goes from its safetensors file
straight to its place on the device (see `loading`): experts into stacks, q, k, v and gate, up into
one matrix each. Nothing is ever unpickled.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from deepocr.engines.deepseek.config import OcrConfig
from deepocr.engines.deepseek.loading import Loader, Stored
from deepocr.engines.deepseek.memory import free_bytes
from deepocr.engines.deepseek.model.moe import Router
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops import Ops
from deepocr.engines.deepseek.start_report import StartReport
from deepocr.errors import CheckpointError
from deepocr.weights.folder import differences, listed, stored_tensors, weight_files

log = logging.getLogger(__name__)

UNUSED = frozenset({"model.vision_model.embeddings.patch_embedding.weight"})
"""Published, read by nothing: CLIP gets its patches from SAM."""

FLOATS = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}

Shape = tuple[int, ...]


class TensorSource(Protocol):
    """Where tensors come from, by published name."""

    def shapes(self) -> Mapping[str, Shape]: ...

    def fill(self, slots: Mapping[str, Tensor], report: StartReport) -> None:
        """Writes tensors to where they belong, in the slots' types, on the slots' devices."""
        ...


@dataclass(frozen=True)
class Place:
    """Where a published tensor goes: rows `start` to `start + shape[0]` of a parameter.

    `expert` is its index in a stack, None for a parameter that is no stack.
    """

    parameter: str
    shape: Shape
    start: int = 0
    expert: int | None = None

    def slot(self, parameter: Tensor) -> Tensor:
        whole = parameter if self.expert is None else parameter[self.expert]
        return whole[self.start : self.start + self.shape[0]]


def published_places(model: OcrModel) -> dict[str, Place]:
    """Every published tensor that the network has a place for, by published name."""
    places = {}
    for name, parameter in model.named_parameters():
        for published, place in _split(name, tuple(parameter.shape)):
            places[published] = place
    return places


PREFIXES = {
    "decoder.": "model.",
    "lm_head.": "lm_head.",
    "qwen2_model.layers.": "model.qwen2_model.model.model.layers.",
    "qwen2_model.norm.": "model.qwen2_model.model.model.norm.",
    "": "model.",
}
"""How our names begin -> how the published ones do; the first that fits."""


def _public(name: str) -> str:
    ours = next(prefix for prefix in PREFIXES if name.startswith(prefix))
    return PREFIXES[ours] + name.removeprefix(ours)


def _split(name: str, shape: Shape) -> Iterator[tuple[str, Place]]:
    """One parameter of ours -> the published tensors that it is made of."""
    owner, _, _ = name.removesuffix(".weight").rpartition(".")
    public_owner = _public(owner + ".").removesuffix(".")
    in_decoder = name.startswith("decoder.layers.")
    if in_decoder and name.endswith("qkv_proj.weight"):
        yield from _rows(name, shape, [f"{public_owner}.{part}_proj.weight" for part in "qkv"])
    elif in_decoder and name.endswith(".experts.gate_up_proj"):
        for expert in range(shape[0]):
            parts = [f"{public_owner}.{expert}.{part}_proj.weight" for part in ("gate", "up")]
            yield from _rows(name, shape[1:], parts, expert)
    elif in_decoder and name.endswith(".experts.down_proj"):
        for expert in range(shape[0]):
            yield from _rows(name, shape[1:], [f"{public_owner}.{expert}.down_proj.weight"], expert)
    elif name.endswith("gate_up_proj.weight"):
        parts = [f"{public_owner}.{part}_proj.weight" for part in ("gate", "up")]
        yield from _rows(name, shape, parts)
    else:
        yield _public(name), Place(name, shape)


def _rows(
    name: str, shape: Shape, published: list[str], expert: int | None = None
) -> Iterator[tuple[str, Place]]:
    """Equal shares of the rows of a matrix, in order."""
    rows = shape[0] // len(published)
    for index, public in enumerate(published):
        yield public, Place(name, (rows, *shape[1:]), index * rows, expert)


class SafetensorsFolder:
    """Shards named by an index file, or `model.safetensors`, or every model*.safetensors.

    Raises CheckpointError for a file that is missing, truncated or not safetensors.
    """

    def __init__(self, folder: Path) -> None:
        self.files = list(weight_files(folder))
        self._shapes: dict[str, Shape] = {}
        self._stored: dict[str, Stored] = {}
        others = []
        for file in self.files:
            for name, (dtype, shape, offset) in stored_tensors(file).items():
                self._shapes[name] = shape
                if dtype in FLOATS:
                    self._stored[name] = Stored(file, offset, FLOATS[dtype])
                else:
                    others.append(f"{name} is {dtype}")
        if others:
            raise CheckpointError(
                f"{folder} holds {len(others)} tensors that are not plain floating point: "
                f"{listed(others)}; use unquantized weights"
            )

    def shapes(self) -> Mapping[str, Shape]:
        return self._shapes

    def fill(self, slots: Mapping[str, Tensor], report: StartReport) -> None:
        Loader(slots, {name: self._stored[name] for name in slots}).run(report)


def load_model(
    config: OcrConfig,
    source: TensorSource,
    ops: Ops,
    *,
    device: torch.device,
    dtype: torch.dtype,
    report: StartReport | None = None,
) -> OcrModel:
    """The network with all its weights on the device, ready to be called. `report` gets the
    seconds of reading, of the way to the device, and of what is computed from the weights once.

    Raises CheckpointError naming every tensor that is missing, unexpected or misshapen, or saying
    how much memory is needed where there is too little; both before anything is loaded.
    """
    with torch.device("meta"):
        model = OcrModel(config, ops).requires_grad_(False).to(dtype)
    for module in model.modules():
        if isinstance(module, Router):
            module.float()
    places = published_places(model)
    check_shapes(places, source.shapes())
    need = sum(p.numel() * p.element_size() for p in model.parameters())
    check_memory(need, device)
    log.info("loading %.2f GB to %s as %s", need / 1e9, device, dtype)
    report = report or StartReport()
    started_s = time.perf_counter()
    model.to_empty(device=device)
    parameters = dict(model.named_parameters())
    slots = {name: place.slot(parameters[place.parameter]) for name, place in places.items()}
    source.fill(slots, report)
    with report.stage("position tables"):
        model.eval().prepare()
    log.info("loaded in %.1f s", time.perf_counter() - started_s)
    return model


def check_shapes(places: Mapping[str, Place], found: Mapping[str, Shape]) -> None:
    """Raises one CheckpointError for all that does not fit."""
    faults = differences(
        {name: str(list(place.shape)) for name, place in places.items()},
        {name: str(list(shape)) for name, shape in found.items() if name not in UNUSED},
    )
    if faults:
        raise CheckpointError(
            f"the weights do not fit config.json; {'; '.join(faults)}; "
            "use the weights and the config.json of one checkpoint"
        )


def check_memory(need_bytes: int, device: torch.device) -> None:
    """Raises CheckpointError when a device has less memory free than is needed."""
    free = free_bytes(device)
    if need_bytes > free:
        raise CheckpointError(
            f"the weights need {need_bytes / 1e9:.1f} GB on {device} and {free / 1e9:.1f} GB are "
            "free; free memory, or set DEEPOCR_DEVICE or DEEPOCR_DTYPE to what fits"
        )
