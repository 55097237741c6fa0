"""Every Triton kernel to machine code for the cards that there are, without one: as launched by
warm-up, in the type of the card."""

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor

from deepocr.engines.deepseek.build import warm_up
from deepocr.engines.deepseek.sampling import NGramBan
from deepocr.engines.deepseek.vision import VisionBatcher
from measure.launches import KernelLaunch, meta_runner, recorded
from measure.stand_in_model import PUBLISHED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None, reason="triton is not installed"
    ),
]

CARDS = {75: 64, 80: 163, 86: 99, 90: 227}
"""KiB of shared memory that a program can have: T4, A100, A10 and L40S, H100."""

TYPES = {
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.float32: "fp32",
    torch.int64: "i64",
    torch.int32: "i32",
}


@pytest.fixture(scope="module")
def launches() -> list[KernelLaunch]:
    """One of each specialization."""
    runner = meta_runner(PUBLISHED, NGramBan(30, 90, frozenset((7, 8))))
    with recorded() as found:
        warm_up(runner, VisionBatcher(runner.model, 1 << 30))
    return list({launch.key: launch for launch in found.kernels}.values())


@pytest.mark.parametrize("card", CARDS)
def test_every_kernel_compiles_and_fits(launches: list[KernelLaunch], card: int) -> None:
    assert len(launches) > 20
    for launch in launches:
        compiled = compile_for(card, launch)
        assert compiled.asm["cubin"]
        name = launch.kernel.__name__
        assert compiled.metadata.shared <= CARDS[card] * 1024, f"{name} needs {compiled.metadata}"


def compile_for(card: int, launch: KernelLaunch) -> Any:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.compiler import compile as triton_compile

    # a T4 has no bf16
    half = torch.float16 if card == 75 else torch.bfloat16
    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    multiples: list[int] = []
    for index, parameter in enumerate(launch.kernel.params):
        name, value = parameter.name, launch.arguments[parameter.name]
        if parameter.is_constexpr:
            constants[name] = value
            signature[name] = "constexpr"
        elif isinstance(value, Tensor):
            dtype = half if value.dtype == torch.bfloat16 else value.dtype
            signature[name] = "*" + TYPES[dtype]
            multiples += [] if parameter.do_not_specialize else [index]
        else:
            signature[name] = "fp32" if isinstance(value, float) else "i32"
            if isinstance(value, int) and not parameter.do_not_specialize:
                assert value != 1, "Triton would make it a constant"
                multiples += [] if value % 16 else [index]
    source = ASTSource(launch.kernel, *_described(signature, constants, multiples))
    target = GPUTarget("cuda", card, 32)
    return triton_compile(source, target=target, options=dict(launch.options))


def _described(
    signature: dict[str, str], constants: dict[str, Any], multiples: list[int]
) -> tuple[Any, ...]:
    """As Triton wants it: the container's has a class for what it is told of arguments."""
    import triton
    from triton.backends import compiler

    if triton.__version__ < "3.3":
        told = {"arg_properties": {"tt.divisibility": multiples}, "cls": "AttrsDescriptor"}
        runtime = {name: kind for name, kind in signature.items() if kind != "constexpr"}
        return runtime, constants, compiler.AttrsDescriptor.from_dict(told)
    return signature, constants, {(at,): [["tt.divisibility", 16]] for at in multiples}
