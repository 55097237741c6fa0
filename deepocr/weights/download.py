"""The weights, on this machine, whole or not at all.

A download goes into `.partial-NAME` beside its final place, is checked there against the
manifest, and only then renamed. So a folder of the final name is always a whole one, and what a
killed process left behind is resumed or removed by the next.
"""

import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import lock_descriptor

from deepocr.errors import CheckpointError, DownloadError
from deepocr.settings import Settings
from deepocr.weights.folder import check_folder
from deepocr.weights.manifest import Manifest, load_manifest, manifest_problems, plain_files

log = logging.getLogger(__name__)

POLL_S = 0.2
PROGRESS_EVERY_S = 10.0
SPARE_BYTES = 64 << 20
"""Free space wanted beyond the weights, for the small files."""

NEVER_RESUMED = re.compile(r"\.[0-9a-f]{8}\.incomplete$")
"""Later versions of huggingface_hub give what they fetch a random name and, killed, leave it
behind; they keep whole files, but begin a half-fetched one anew."""

FETCH_FROM_HUB = """
import sys
from huggingface_hub import snapshot_download
repo, revision, folder, *names = sys.argv[1:]
snapshot_download(repo, revision=revision, local_dir=folder, allow_patterns=names)
"""

MAX_ARCHIVE_DEPTH = 3
"""How many folders deep in an archive the checkpoint may lie."""


@dataclass(frozen=True)
class Source:
    """Where weights can be fetched from, as a command to run: a process of its own can be ended
    when it stalls. `command` lacks the folder to fill, `names` follow it. `resumes` says whether a
    second run goes on where the first one stopped, or must begin with an empty place."""

    name: str
    origin: str
    command: tuple[str, ...]
    names: tuple[str, ...] = ()
    resumes: bool = False


def ensure_weights(settings: Settings, manifest: Manifest | None = None) -> Path:
    """The folder of a whole checkpoint, downloaded first if there is none. Blocking.

    Looks in `settings.checkpoints` itself, then in its subfolder with the manifest's name
    (`DeepSeek-OCR`); what is found there is used without touching the network, or refused, never
    replaced. `manifest` is that of `settings.weights_repo` unless given. Raises CheckpointError
    when what is there is not whole or downloads are switched off, DownloadError when fetching
    fails.
    """
    manifest = manifest or load_manifest(settings.weights_repo, settings.model)
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
        home = checkpoints
    elif not (home.is_dir() and any(home.iterdir())):
        return None
    check_folder(home)
    return home


def choose_source(settings: Settings, manifest: Manifest) -> Source:
    """The first that is installed of those `settings.weights_source` allows; when it fails, the
    other is not tried unasked. Raises DownloadError when none is."""
    wanted = settings.weights_source
    program = shutil.which("pget")
    url = settings.weights_url or manifest.url
    if wanted in ("auto", "pget") and program and url:
        return Source("pget", url, (program, "-x", url))
    if wanted in ("auto", "hub") and importlib.util.find_spec("huggingface_hub"):
        repo = settings.weights_repo or manifest.repo
        own = manifest.revision if repo == manifest.repo else "main"
        revision = settings.weights_revision or own
        # -P: what lies in the working folder must not be taken for the hub's modules
        command = (sys.executable, "-P", "-c", FETCH_FROM_HUB, repo, revision)
        return Source("hub", f"{repo} at {revision}", command, tuple(manifest.files), resumes=True)
    raise DownloadError(
        f"nothing to download weights with (DEEPOCR_WEIGHTS_SOURCE={wanted}): install pget and "
        "have DEEPOCR_WEIGHTS_URL where the model has no tar of its own, "
        "or huggingface_hub with `pip install huggingface-hub`, or "
        f"{by_hand(settings.checkpoints / manifest.name)}"
    )


@contextmanager
def only_one(lock: Path) -> Iterator[int]:
    """Holds `lock`, waiting for whoever has it. Yields its file descriptor.

    The lock lives as long as any process has that descriptor open: a fetching child inherits it
    (not on Windows), so that one whose parent was killed cannot write beside its successor.
    """
    fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not lock_descriptor(fd, blocking=False):
            log.info("another process is fetching the weights; waiting for it (%s)", lock)
            lock_descriptor(fd)
        yield fd
    finally:
        os.close(fd)


def download(source: Source, home: Path, manifest: Manifest, stall_s: float, lock_fd: int) -> None:
    """Fetch, check, publish. Afterwards `home` is whole, or does not exist and this raised."""
    stage = home.with_name(f".partial-{home.name}")
    arrived = stage / source.name
    clear_stage(stage, keep=arrived if source.resumes else None)
    check_space(stage, arrived, manifest, home)

    log.info("weights: fetching %s with %s into %s", source.origin, source.name, home)
    reason = fetch(source, arrived, manifest.weight_bytes, stall_s, lock_fd)
    if reason:
        if not source.resumes or tree_bytes(arrived) == 0:
            shutil.rmtree(stage)
        raise DownloadError(
            f"{source.name} could not fetch {source.origin}: {reason}. "
            f"Check the network and the address, then try again, or {by_hand(home)}"
        )
    whole = collect(arrived, stage / "whole", manifest)
    problems = manifest_problems(whole, manifest)
    if problems:
        shutil.rmtree(stage)
        raise DownloadError(
            f"what {source.name} fetched from {source.origin} is not {manifest.repo}: "
            f"{'; '.join(problems)}. It was removed; try again or {by_hand(home)}"
        )
    for path in [*whole.iterdir(), whole]:
        sync(path)
    whole.rename(home)
    sync(home.parent)
    shutil.rmtree(stage)
    log.info("weights: %s is complete", home)


def clear_stage(stage: Path, keep: Path | None) -> None:
    """An empty stage, except for what the source can resume from."""
    stage.mkdir(exist_ok=True)
    for path in stage.rglob("*.incomplete"):
        if NEVER_RESUMED.search(path.name):
            path.unlink()
    for path in stage.iterdir():
        if path.is_dir() and not path.is_symlink():
            if path != keep:
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
    source: Source, arrived: Path, expected_bytes: int, stall_s: float, lock_fd: int
) -> str | None:
    """Runs the source's command to its end. Returns why it failed, None when it did not."""
    output = arrived.with_name("fetch.log")
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*source.command, arrived, *source.names],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
            pass_fds=() if sys.platform == "win32" else (lock_fd,),
        )
    try:
        stalled = watch(process, arrived, expected_bytes, stall_s)
    finally:
        process.kill()  # does nothing to one that has ended
        process.wait()
    if not stalled and process.returncode == 0:
        return None
    status = f"it ended with status {process.returncode}"
    reason = f"nothing arrived for {stall_s:g} s" if stalled else status
    lines = output.read_bytes()[-(1 << 16) :].decode(errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")[:400].rstrip(".")
    return reason + (f"; its last words: {said}" if said else "")


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

    An archive may have the checkpoint at its top or some folders deep. Links, which may lead
    anywhere, are left behind.
    """
    patterns = ("*/" * depth + "config.json" for depth in range(MAX_ARCHIVE_DEPTH + 1))
    configs = (path for pattern in patterns for path in sorted(arrived.glob(pattern)))
    root = next(configs, arrived / "config.json").parent
    whole.mkdir()
    for name in manifest.files:
        for path in plain_files(root, name):
            path.rename(whole / path.name)
    return whole


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


def by_hand(home: Path) -> str:
    """The remedy that always works."""
    return f"put config.json, tokenizer.json and the safetensors files into {home} by hand"
