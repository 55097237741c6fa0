"""On the meta device: what warm-up compiles is all that pages need, and no step waits."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from deepocr.engines.deepseek.build import warm_up
from deepocr.engines.deepseek.config import OcrConfig
from deepocr.engines.deepseek.family import member_of
from deepocr.engines.deepseek.graphs import GraphRunner, graph_sizes
from deepocr.engines.deepseek.kv_cache import BLOCK_TOKENS
from deepocr.engines.deepseek.runner import DecodeInputs
from deepocr.engines.deepseek.sampling import NGramBan
from deepocr.engines.deepseek.sequence import Sequence
from deepocr.engines.deepseek.vision import PreparedPage, VisionBatcher
from measure.launches import META, Key, Launches, is_view, meta_runner, recorded
from measure.stand_in_model import FAMILY

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)

MODELS = ("deepseek-ocr", "deepseek-ocr-2", "unlimited-ocr")
Engine = tuple[GraphRunner, VisionBatcher]


def shallow(config: OcrConfig) -> OcrConfig:
    """The published widths in few layers, at least one of each kind."""
    parts = {
        "sam": {"layers": 2, "global_attn_indexes": (1,)},
        "encoder": {"layers": 1},
        "decoder": {"num_hidden_layers": 2},
    }
    update = {name: getattr(config, name).model_copy(update=few) for name, few in parts.items()}
    return config.model_copy(update=update)


@pytest.fixture(scope="module", params=MODELS)
def engine(request: pytest.FixtureRequest) -> Engine:
    config = shallow(FAMILY[request.param])
    size, window = member_of(config).ban
    runner = meta_runner(config, NGramBan(size, window, frozenset((7, 8)), long_window=1024))
    return runner, VisionBatcher(runner.model, 2 << 30)


def sequence(runner: GraphRunner, slot: int, prompt: int, output: int = 0) -> Sequence:
    """As the scheduler hands them out for a prefill, or with a pending token for a decode."""
    length = prompt + output
    blocks = [1 + index % 60 for index in range(-(-(length + 1) // BLOCK_TOKENS))]
    return Sequence(
        slot, [5] * prompt, 4000, output=[6] * output, num_cached=length, blocks=blocks, slot=slot
    )


def zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.bfloat16)


def pages(side: int, tile: int, counts: tuple[int, ...]) -> list[PreparedPage]:
    """Each with so many tiles."""
    return [
        PreparedPage(zeros(3, side, side), zeros(n, 3, tile, tile) if n else None, (n, 1), 0)
        for n in counts
    ]


def every_preset(runner: GraphRunner) -> list[list[PreparedPage]]:
    """Pages that are encoded together."""
    found = []
    for preset in member_of(runner.model.config).presets.values():
        for counts in ((0,), (0, 0, 0), (2,), (3, 6)):
            tiles = counts if preset.max_tiles else (0,) * len(counts)
            found.append(pages(preset.side_px, preset.tile_side_px, tiles))
    return found


def mixed_load(
    runner: GraphRunner, vision: VisionBatcher, pictures: list[list[PreparedPage]]
) -> None:
    """Prompts of any lengths, some with what they had written; batches of any size; pictures."""
    nothing = runner.model.view_seperator.new_empty(0, 1)
    for prompts in ((1,), (2, 1), (3,), (90, 38), (129,), (285, 285, 512), (915,), (1100,) * 7):
        prefilled = [sequence(runner, slot, length) for slot, length in enumerate(prompts)]
        runner.prefill(prefilled, [nothing] * len(prompts))
    restored = [sequence(runner, 0, 285, 700), sequence(runner, 1, 300), sequence(runner, 2, 9, 3)]
    runner.prefill(restored, [nothing] * 3)
    for size in graph_sizes(runner.max_sequences):
        rows = [sequence(runner, slot, 285 + 31 * slot, 40) for slot in range(size - size // 3)]
        for row in rows:
            row.pending = 1
        runner.decode_step(DecodeInputs(*runner.staging.upload(runner.padded_parts(rows, size))))
    for together in pictures:
        vision.encode(together)


def keys(found: Launches) -> set[Key]:
    return {kernel.key for kernel in found.kernels}


class _NoWaiting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses to look at a value, to make tensors on the host, and to copy any to the device but
    those in `staged`, which is pinned on CUDA."""

    def __init__(self, staged: tuple[Tensor, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.staged = {tensor.data_ptr() for tensor in staged}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        found = func(*args, **kwargs)
        if is_view(func):
            return found
        # what is computed; what is copied
        tensors = [found, *(args[:2] if "copy" in func.__name__ else ())]
        for tensor in tree_leaves(tensors):
            if not isinstance(tensor, Tensor) or self._is_strange(tensor):
                raise AssertionError(f"{func} waits for the device, or for its copy of a tensor")
        return found

    def _is_strange(self, tensor: Tensor) -> bool:
        on_host = tensor.device.type == "cpu"
        return on_host and tensor.untyped_storage().data_ptr() not in self.staged


@contextmanager
def no_waiting(*staged: Tensor) -> Iterator[Launches]:
    with recorded() as found, _NoWaiting(staged):
        yield found


def test_after_warm_up_nothing_is_compiled_for_a_page_and_no_step_waits(engine: Engine) -> None:
    runner, vision = engine
    with recorded() as before:
        warm_up(runner, vision)
    pictures = every_preset(runner)
    staged = [buffer.words for buffer in runner.staging._buffers]
    with no_waiting(*staged, vision._pixels._values) as after:
        mixed_load(runner, vision, pictures)
    assert keys(after) - keys(before) == set()
    # nor was anything compiled that no page needs
    assert keys(before) - keys(after) == set()


@pytest.mark.parametrize(
    "waiting",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: torch.tensor([1, 2], dtype=torch.int32).to(x.device),
        lambda x: x + torch.arange(3).to(x.device),
        lambda x: x.cpu(),
    ],
)
def test_what_waits_is_found(waiting: Any) -> None:
    with pytest.raises((AssertionError, RuntimeError, NotImplementedError)), no_waiting():
        waiting(torch.zeros(3, device=META))
