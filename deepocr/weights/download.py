"""The weights, on this machine, whole or not at all.

A download goes into `.partial-NAME` beside its final place, is checked there against the
manifest, and only then renamed. So a folder of the final name is always a whole one, and what a
killed process left behind is resumed or removed by the next.
"""

import fcntl
import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deepocr.errors import CheckpointError, DownloadError
from deepocr.settings import Settings
from deepocr.weights.folder import check_folder, is_plain_file
from deepocr.weights.manifest import Manifest, load_manifest, manifest_problems
from deepocr.weights.sources import WeightsSource, choose_source

log = logging.getLogger(__name__)

POLL_S = 0.2
PROGRESS_EVERY_S = 10.0
SPARE_BYTES = 64 << 20
"""Free space wanted beyond the weights: tokenizer, header, and room to breathe."""

NEVER_RESUMED = re.compile(r"\.[0-9a-f]{8}\.incomplete$")
"""Later versions of huggingface_hub give what they fetch a random name and, killed, leave it
behind; they keep whole files, but begin a half-fetched one anew."""

MAX_ARCHIVE_DEPTH = 3
"""How many folders deep in an archive the checkpoint may lie."""


def ensure_weights(settings: Settings, manifest: Manifest | None = None) -> Path:
    """The folder of a whole checkpoint, downloaded first if there is none. Blocking.

    Looks in `settings.checkpoints` itself, then in its subfolder with the manifest's name
    (`DeepSeek-OCR`); what is found there is used without touching the network, or refused, never
    replaced. `manifest` is the published one unless given. Raises CheckpointError when what is
    there is not whole or downloads are switched off, DownloadError when fetching fails.
    """
    manifest = manifest or load_manifest()
    home = settings.checkpoints / manifest.name
    found = find_weights(settings.checkpoints, home)
    if found is not None:
        return found
    if not settings.weights_download:
        raise CheckpointError(
            f"no weights in {settings.checkpoints} and DEEPOCR_WEIGHTS_DOWNLOAD is off; "
            f"{by_hand(home)}"
        )
    source = choose_source(settings, manifest)
    try:
        settings.checkpoints.mkdir(parents=True, exist_ok=True)
        with only_one(settings.checkpoints / ".download.lock") as lock_fd:
            found = find_weights(settings.checkpoints, home)
            if found is not None:  # another process was first
                return found
            download(source, home, manifest, settings.weights_stall_s, lock_fd)
    except OSError as error:
        raise DownloadError(
            f"weights cannot be written to {settings.checkpoints}: {error}; "
            "set DEEPOCR_CHECKPOINTS to a folder with room that may be written to"
        ) from error
    return home


def find_weights(checkpoints: Path, home: Path) -> Path | None:
    """The folder with the checkpoint, or None. Raises CheckpointError for half of one."""
    if (checkpoints / "config.json").exists() or any(checkpoints.glob("*.safetensors")):
        check_folder(checkpoints)
        return checkpoints
    if home.is_dir() and any(home.iterdir()):
        check_folder(home)
        return home
    return None


@contextmanager
def only_one(lock: Path) -> Iterator[int]:
    """Holds `lock`, waiting for whoever has it. Yields its file descriptor.

    The lock lives as long as any process has that descriptor open: a fetching child inherits it,
    so that one whose parent was killed cannot write beside its successor.
    """
    fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another process is fetching the weights; waiting for it (%s)", lock)
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def download(
    source: WeightsSource, home: Path, manifest: Manifest, stall_s: float, lock_fd: int
) -> None:
    """Fetch, check, publish. Afterwards `home` is whole, or does not exist and this raised."""
    stage = home.with_name(f".partial-{home.name}")
    arrived = stage / source.name
    clear_stage(stage, keep=arrived if source.resumes else None)
    check_space(stage, arrived, manifest, home)

    log.info("weights: fetching %s with %s into %s", source.origin, source.name, home)
    try:
        fetch(source, arrived, stage / "fetch.log", manifest.weight_bytes, stall_s, lock_fd, home)
    except DownloadError:
        if not source.resumes or tree_bytes(arrived) == 0:
            shutil.rmtree(stage)
        raise

    whole = collect(arrived, stage / "whole", manifest)
    problems = manifest_problems(whole, manifest)
    if problems:
        shutil.rmtree(stage)
        raise DownloadError(
            f"what {source.name} fetched from {source.origin} is not {manifest.repo}: "
            f"{'; '.join(problems)}. It was removed; try again or {by_hand(home)}"
        )
    publish(whole, home)
    shutil.rmtree(stage)
    log.info("weights: %s is complete", home)


def clear_stage(stage: Path, keep: Path | None) -> None:
    """An empty stage, except for what the source can resume from."""
    stage.mkdir(exist_ok=True)
    if keep is not None:
        for path in keep.rglob("*.incomplete"):
            if NEVER_RESUMED.search(path.name):
                path.unlink()
    for path in stage.iterdir():
        if path == keep:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def check_space(stage: Path, arrived: Path, manifest: Manifest, home: Path) -> None:
    """Raises DownloadError before fetching what cannot fit."""
    needed = max(0, manifest.weight_bytes - tree_bytes(arrived)) + SPARE_BYTES
    free = shutil.disk_usage(stage).free
    if free < needed:
        raise DownloadError(
            f"the weights need {needed / 1e9:.1f} GB more in {home.parent}, which has "
            f"{free / 1e9:.1f} GB free; make room or set DEEPOCR_CHECKPOINTS to another disk"
        )


def fetch(
    source: WeightsSource,
    arrived: Path,
    output: Path,
    expected_bytes: int,
    stall_s: float,
    lock_fd: int,
    home: Path,
) -> None:
    """Runs the source's command to its end. Raises DownloadError when it fails or stalls."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            source.command(arrived),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
            pass_fds=(lock_fd,),
        )
    try:
        stalled = watch(process, arrived, expected_bytes, stall_s)
    finally:
        process.kill()  # does nothing to one that has ended
        process.wait()
    if stalled or process.returncode != 0:
        reason = (
            f"nothing arrived for {stall_s:g} s"
            if stalled
            else f"it ended with status {process.returncode}"
        )
        said = last_words(output)
        raise DownloadError(
            f"{source.name} could not fetch {source.origin}: {reason}"
            + (f"; its last words: {said.rstrip('.')}" if said else "")
            + f". Check the network and the address, then try again, or {by_hand(home)}"
        )


def watch(
    process: "subprocess.Popen[bytes]", arrived: Path, expected_bytes: int, stall_s: float
) -> bool:
    """Waits for the end of `process`, telling how far it is. True when it stalled instead."""
    seen_bytes = -1
    moved_s = told_s = time.monotonic()
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=POLL_S)
            return False
        now_s, now_bytes = time.monotonic(), tree_bytes(arrived)
        if now_bytes != seen_bytes:
            seen_bytes, moved_s = now_bytes, now_s
        elif now_s - moved_s > stall_s:
            return True
        if now_s - told_s > PROGRESS_EVERY_S:
            told_s = now_s
            log.info("weights: %.2f of %.2f GB", now_bytes / 1e9, expected_bytes / 1e9)


def collect(arrived: Path, whole: Path, manifest: Manifest) -> Path:
    """Moves the files that the manifest names, and only those, into `whole`.

    An archive may have the checkpoint at its top or some folders deep. Links are left behind.
    """
    depths = ["/".join(["*"] * depth + ["config.json"]) for depth in range(MAX_ARCHIVE_DEPTH + 1)]
    configs = [path for pattern in depths for path in sorted(arrived.glob(pattern))]
    root = configs[0].parent if configs else arrived
    whole.mkdir()
    for name in manifest.files:
        if is_plain_file(root / name):
            (root / name).rename(whole / name)
    return whole


def publish(whole: Path, home: Path) -> None:
    """Renames a checked folder into place once the disk has every byte of it."""
    for path in [*whole.iterdir(), whole]:
        sync(path)
    whole.rename(home)
    sync(home.parent)


def sync(path: Path) -> None:
    """Waits until a file or folder is on the disk: a rename may reach it before the data."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def tree_bytes(folder: Path) -> int:
    """Bytes of all files under a folder that another process is filling."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(root) / name).lstat().st_size
    return total


def last_words(output: Path, most_chars: int = 400) -> str:
    """The last line that a program wrote."""
    lines = output.read_bytes()[-(1 << 16) :].decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:most_chars]


def by_hand(home: Path) -> str:
    """The remedy that always works."""
    return f"put config.json, tokenizer.json and the safetensors files into {home} by hand"
