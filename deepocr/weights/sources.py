"""Where the published weights can be fetched from, each as a command to run."""

import importlib.util
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deepocr.errors import DownloadError
from deepocr.settings import Settings
from deepocr.weights.manifest import Manifest


@dataclass(frozen=True)
class WeightsSource:
    """One way to fetch. `command` takes the folder to fill; `resumes` says whether a second run
    goes on where the first one stopped, or must begin with an empty place."""

    name: str
    origin: str
    command: Callable[[Path], list[str]]
    resumes: bool


def pget_source(settings: Settings, _manifest: Manifest) -> WeightsSource | None:
    """One tar over many connections, unpacked as it comes. None where pget is not installed."""
    program = shutil.which("pget")
    if program is None:
        return None
    url = settings.weights_url
    return WeightsSource(
        "pget", url, lambda folder: [program, "-x", url, str(folder)], resumes=False
    )


def hub_source(settings: Settings, manifest: Manifest) -> WeightsSource | None:
    """The files that the manifest names, from the model hub. None without huggingface_hub."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    repo, revision = settings.weights_repo, settings.weights_revision
    # -P: this package's folder must not be searched for the hub's own imports
    program = [sys.executable, "-P", str(Path(__file__).with_name("hub.py")), repo, revision]
    return WeightsSource(
        "hub",
        f"{repo} at {revision}",
        lambda folder: [*program, str(folder), *manifest.files],
        resumes=True,
    )


SOURCES: Mapping[str, Callable[[Settings, Manifest], WeightsSource | None]] = {
    "pget": pget_source,
    "hub": hub_source,
}
"""In the order in which `auto` tries them. It takes the first that is installed; when that one
fails, the other is not tried unasked."""


def choose_source(settings: Settings, manifest: Manifest) -> WeightsSource:
    """Raises DownloadError when what `settings.weights_source` names is not installed."""
    wanted = settings.weights_source
    names = list(SOURCES) if wanted == "auto" else [wanted]
    for name in names:
        source = SOURCES[name](settings, manifest)
        if source is not None:
            return source
    raise DownloadError(
        f"nothing to download weights with (DEEPOCR_WEIGHTS_SOURCE={wanted}): install pget, "
        "or huggingface_hub with `pip install huggingface-hub`, or put the weights into "
        f"{settings.checkpoints / manifest.name} by hand"
    )
