"""What the processor multiplies fast, and so which versions the network has on a CPU.

`CPU_ATTENTION` in `cpu_attention` and `encoder_matrix` and `decoder_matrix` in `packed` have them.
"""

from pathlib import Path
from typing import Literal

Products = Literal["amx", "avx512_bf16", "float32"]
"""Instructions for products in bf16, or neither: float32 is faster then. Every version runs on
every processor."""

PRODUCTS: tuple[Products, ...] = ("amx", "avx512_bf16", "float32")
"""The best first."""

CPU_INFO = Path("/proc/cpuinfo")


def fast_products(cpu_info: str) -> Products:
    """From the text of /proc/cpuinfo; empty where there is no such file."""
    flags = frozenset(cpu_info.split())
    if "amx_bf16" in flags:
        return "amx"
    return "avx512_bf16" if "avx512_bf16" in flags else "float32"


def own_products() -> Products:
    """Of this machine's processor."""
    return fast_products(CPU_INFO.read_text() if CPU_INFO.exists() else "")
