"""How much memory a device has left."""

from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""What errors of CUDA, of pinned memory and of the CPU's allocator say, in lower case."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was wanting; only CUDA's allocator has a class of its own for that."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error).lower() for words in OUT_OF_MEMORY
    )


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be had: on CUDA what the driver says, else what the host says, and no
    more than the container's limit leaves."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min(host_free_bytes(), cgroup_free_bytes())


def host_free_bytes() -> int:
    """MemAvailable counts the page cache as free, which a weight file just read fills."""
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        # no Linux: nothing is known, so nothing is refused
        return 1 << 62
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024


def cgroup_free_bytes() -> int:
    """What a container's limit (cgroup v2) leaves; file cache inside it can be dropped."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
        stat = (CGROUP / "memory.stat").read_text().splitlines()
    except OSError:
        return 1 << 62
    if limit == "max":
        return 1 << 62
    fields = dict(line.split() for line in stat)
    cache = int(fields.get("inactive_file", 0)) + int(fields.get("active_file", 0))
    return max(0, int(limit) - used + cache)
