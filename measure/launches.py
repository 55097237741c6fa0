"""What a step launches on a device, counted on any machine without one.

The network lies on PyTorch's meta device: tensors have shapes and no values, so a step runs in no
time and cannot look at a value. Every operator that is neither a view nor an allocation counts as
one kernel, and so does every launch of a Triton kernel, which is noted and not run. A library may
need several kernels for one operator (a sort, a product whose sum is split): the count is that of
nodes as we launch them.
"""

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from deepocr.engines.deepseek.config import OcrConfig
from deepocr.engines.deepseek.graphs import GraphRunner
from deepocr.engines.deepseek.kv_cache import BlockCache
from deepocr.engines.deepseek.ops.choice import assembled
from deepocr.engines.deepseek.ops.operations import OPERATIONS
from deepocr.engines.deepseek.ops.probes import Operation, Version
from deepocr.engines.deepseek.runner import DecodeInputs
from deepocr.engines.deepseek.sampling import NGramBan
from measure.stand_in_model import empty_model

META = torch.device("meta")

Key = tuple[Any, ...]


@dataclass(frozen=True)
class KernelLaunch:
    """A Triton kernel with its arguments by name, tensors among them, and its options."""

    kernel: Any
    arguments: Mapping[str, Any]
    options: Mapping[str, Any]

    @property
    def key(self) -> Key:
        """What Triton compiles anew for: types, constants, whether an integer is 1 or a multiple
        of 16, whether a pointer is a multiple of 16 bytes."""
        parts = (self._specialization(parameter) for parameter in self.kernel.params)
        return (self.kernel.__name__, *parts, *sorted(self.options.items()))

    def _specialization(self, parameter: Any) -> tuple[str, Any]:
        name, value = parameter.name, self.arguments[parameter.name]
        if parameter.is_constexpr:
            return name, value
        kind: Any
        if isinstance(value, Tensor):
            # what is allocated anew begins at a multiple of 512 bytes
            kind, multiple = value.dtype, value.storage_offset() * value.itemsize % 16 == 0
        else:
            kind = type(value).__name__
            if isinstance(value, int):
                kind = "i64" if abs(value) >= 1 << 31 else "i32"
            multiple = isinstance(value, int) and value % 16 == 0
        if parameter.do_not_specialize or isinstance(value, float):
            return name, kind
        return name, (kind, value == 1 if isinstance(value, int) else False, multiple)


@dataclass
class Launches:
    """In order: names of operators and kernels; the Triton kernels once more with all they got."""

    names: list[str] = field(default_factory=list)
    kernels: list[KernelLaunch] = field(default_factory=list)

    @property
    def by_name(self) -> Counter[str]:
        return Counter(self.names)


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, found: Launches) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # under inference_mode composite operators come here whole
        with self:
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        if not is_view(func) and not func.__name__.startswith(("empty", "new_empty")):
            self.found.names.append(func.__name__.removesuffix(".default"))
        return func(*args, **kwargs)


def is_view(func: Any) -> bool:
    aliases = [result.alias_info for result in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


@contextmanager
def recorded() -> Iterator[Launches]:
    """Notes what is launched inside; Triton kernels are not run. Raises ImportError without
    Triton."""
    from triton.runtime.jit import JITFunction

    found = Launches()

    def note(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:  # noqa: ARG001 - as called
        names = {parameter.name for parameter in kernel.params}
        given = {name: value for name, value in kwargs.items() if name in names}
        options = {name: value for name, value in kwargs.items() if name not in names}
        bound = inspect.signature(kernel.fn).bind(*args, **given)
        bound.apply_defaults()
        found.names.append(kernel.__name__)
        found.kernels.append(KernelLaunch(kernel, bound.arguments, options))

    run = JITFunction.run
    JITFunction.run = note
    try:
        with _Operators(found), torch.inference_mode():
            yield found
    finally:
        JITFunction.run = run


def meta_runner(config: OcrConfig, ban: NGramBan, *, max_sequences: int = 64) -> GraphRunner:
    """The runner that CUDA gets without flash-attn, in bf16, on the meta device."""
    ops = assembled({o.name: triton_or_plain(o).make() for o in OPERATIONS})
    model = empty_model(config, ops.network, torch.bfloat16)
    model.prepare()
    return GraphRunner(
        model,
        BlockCache(config.decoder, 64, device=META, dtype=torch.bfloat16),
        max_sequences=max_sequences,
        context=config.decoder.max_position_embeddings,
        ban=ban,
        paged_attention=ops.paged,
        prefill_attention=ops.prefill,
        rotary_write=ops.rotary_write,
        pick=ops.pick,
    )


def triton_or_plain(operation: Operation) -> Version:
    """What needs no flash-attn."""
    return next(
        (version for version in operation.fast if version.name == "triton"), operation.plain
    )


def decode_launches(runner: GraphRunner, batch: int) -> Launches:
    """Of one decode step of a batch, as its graph holds them."""
    inputs = DecodeInputs(*runner.staging.upload(runner.padded_parts([], batch)))
    with recorded() as found:
        runner.decode_step(inputs)
    return found
