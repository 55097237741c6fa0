"""How much memory a reading took, at its height."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def reset_peak() -> None:
    """Begins anew, where the system allows it; elsewhere the peak is that of the whole run."""
    with suppress(OSError):
        _CLEAR.write_text("5")  # Linux: sets the peak of resident memory back to what it is now
    cuda = _cuda()
    if cuda is not None:
        cuda.reset_peak_memory_stats()


def peak_bytes() -> dict[str, int]:
    """`ram` of this process, and `gpu` where torch is in use on a CUDA device."""
    peaks = {} if sys.platform == "win32" else {"ram": _peak_ram_bytes()}
    cuda = _cuda()
    if cuda is not None:
        peaks["gpu"] = int(cuda.max_memory_allocated())
    return peaks


def _peak_ram_bytes() -> int:
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # Windows has none

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cuda() -> Any:
    """torch.cuda where the engine has loaded torch and found a device: not imported for this."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None
