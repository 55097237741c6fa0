"""Fast operations are tried before they are trusted: a version runs only if it can be imported,
compiles here and agrees with the plain one on small inputs of the real type.

A new operation is one `Operation` in `operations.py`; nothing here knows any by name.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepocr.engines.deepseek.config import OcrConfig
from deepocr.engines.deepseek.memory import is_out_of_memory
from deepocr.engines.deepseek.start_report import StartReport
from deepocr.errors import EngineUnavailable, SettingsError, reason

log = logging.getLogger(__name__)

MAX_ERROR = {torch.float32: 1e-3, torch.float16: 0.01, torch.bfloat16: 0.03}
"""Of a row, as a share of its norm, against the plain version in float32."""

PLAIN = "plain"
ALL = "all"


class ProbeError(Exception):
    """A version ran and what it computed is wrong."""


@dataclass(frozen=True)
class Scene:
    """Where operations run: sizes, device, type."""

    config: OcrConfig
    device: torch.device
    dtype: torch.dtype

    def draw(self, *shape: int, spread: float = 1.0) -> Tensor:
        """Noise on the device, the same at every start."""
        generator = torch.Generator(self.device).manual_seed(sum(shape))
        drawn = torch.randn(*shape, generator=generator, device=self.device)
        return (drawn * spread).to(self.dtype)


def _fits(_scene: Scene) -> str:
    return ""


@dataclass(frozen=True)
class Version:
    """One way to compute an operation. `make` imports what it needs and returns the callable;
    `unfit` says why it is not meant for a scene, or nothing; `in_graph` is whether a CUDA graph can
    hold it: it never waits for a value on the host."""

    name: str
    make: Callable[[], Any]
    unfit: Callable[[Scene], str] = _fits
    in_graph: bool = True


def _call(operation: Any, arguments: Sequence[Any]) -> Any:
    return operation(*arguments)


@dataclass(frozen=True)
class Operation:
    """Versions of one operation, the best first, and the plain one that they are held against.

    `samples` gives arguments, each a tuple; `call` computes what is compared from a version and
    such a tuple, a tensor or several (operations that write in place need one of their own).
    Floats may differ by MAX_ERROR, integers not at all. `in_step`: a decode step runs it.
    """

    name: str
    fast: tuple[Version, ...]
    plain: Version
    samples: Callable[[Scene], Iterable[tuple[Any, ...]]]
    call: Callable[[Any, Sequence[Any]], Any] = _call
    in_step: bool = True


@dataclass(frozen=True)
class Chosen:
    """The version of an operation that runs."""

    run: Any
    version: Version


def choose(
    operations: Sequence[Operation], scene: Scene, forced: Mapping[str, str], report: StartReport
) -> dict[str, Chosen]:
    """A version that works for each operation, by its name; what does not is told and noted.

    Raises EngineUnavailable when a forced one does not work, and when a probe breaks the device.
    """
    found = {}
    for operation in operations:
        chosen = _choose(operation, scene, forced.get(operation.name, ""), report)
        found[operation.name] = chosen
        report.versions[operation.name] = chosen.version.name
    return found


def _choose(operation: Operation, scene: Scene, forced: str, report: StartReport) -> Chosen:
    plain = Chosen(operation.plain.make(), operation.plain)
    faults = []
    for version in operation.fast:
        if forced and forced != version.name:
            continue
        why = version.unfit(scene)
        if not why:
            try:
                run = version.make()
                hold_against(plain.run, run, operation, scene)
            except Exception as error:  # noqa: BLE001 - compilers and drivers raise what they like
                why = _told(operation, version, scene, error)
                faults.append(f"{version.name} fails: {why}")
            else:
                if faults:
                    tell(report, operation.name, version.name, faults)
                return Chosen(run, version)
        if forced:
            raise EngineUnavailable(
                f"DEEPOCR_OPS wants {operation.name}={version.name}, which does not work here: "
                f"{why}; leave it out"
            )
    if faults:
        tell(report, operation.name, PLAIN, faults)
    return plain


def tell(report: StartReport, operation: str, version: str, faults: Sequence[str]) -> None:
    """One line in the log and one note for an operation that is not at its best."""
    report.notes[operation] = f"{version}, as {'; '.join(faults)}"
    log.warning("%s=%s", operation, report.notes[operation])


def _told(operation: Operation, version: Version, scene: Scene, error: Exception) -> str:
    """The error in one line. Raises EngineUnavailable if there is no going on after it."""
    what = f"the probe of {operation.name}={version.name}"
    if is_out_of_memory(error):
        raise EngineUnavailable(
            f"{what} ran out of memory on {scene.device}; free memory there"
        ) from error
    try:
        check_device(scene.device)
    except Exception as gone:
        raise EngineUnavailable(
            f"{what} left {scene.device} unusable: {reason(error)}; start again with "
            f"DEEPOCR_OPS={operation.name}={PLAIN}"
        ) from gone
    log.debug("%s failed", what, exc_info=error)
    if isinstance(error, ProbeError | ImportError):
        return str(error)
    return reason(error)


def check_device(device: torch.device) -> None:
    """Raises what the device throws when it can compute nothing any more: a CUDA context does
    not get over the fault of a kernel."""
    torch.zeros(1, device=device).add_(1).item()


def hold_against(plain: Any, fast: Any, operation: Operation, scene: Scene) -> None:
    """Raises ProbeError for a difference above the bound, and whatever the fast version raises."""
    bound = MAX_ERROR[scene.dtype]
    for arguments in operation.samples(scene):
        wanted = _tensors(operation.call(plain, [_wide(value) for value in arguments]))
        found = _tensors(operation.call(fast, arguments))
        errors = [difference(*pair) for pair in zip(found, wanted, strict=True)]
        # NaN is no smaller than the bound either
        if not all(error <= bound for error in errors):
            raise ProbeError(f"it is off by {max(errors):.2g} of a row's norm, allowed are {bound}")


def _wide(value: Any) -> Any:
    is_float = isinstance(value, Tensor) and value.is_floating_point()
    return value.float() if is_float else value


def _tensors(value: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return [value] if isinstance(value, Tensor) else value


def difference(found: Tensor, wanted: Tensor) -> float:
    """The largest error of a row (last dimension) as a share of its norm, or of a tenth of the
    usual norm where that is more; infinite for another shape or other integers."""
    if found.shape != wanted.shape:
        return float("inf")
    if not wanted.is_floating_point():
        return 0.0 if found.equal(wanted.to(found.dtype)) else float("inf")
    rows = [x.float().reshape(-1, x.shape[-1] if x.dim() else 1) for x in (found, wanted)]
    norms = rows[1].norm(dim=-1)
    usual = norms.square().mean().sqrt()
    least = (usual / 10).clamp(min=torch.finfo(torch.float32).tiny)
    return float(((rows[0] - rows[1]).norm(dim=-1) / norms.maximum(least)).max())


def read_forced(text: str, known: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """DEEPOCR_OPS, such as `experts-many=triton graphs=plain` or `all=plain`, by operation.

    `known` are the versions of each operation. Raises SettingsError naming what there is.
    """
    forced: dict[str, str] = {}
    for part in text.split():
        name, _, version = part.partition("=")
        names = list(known) if name == ALL else [name]
        if not set(names) <= set(known):
            raise SettingsError(
                f"DEEPOCR_OPS has no operation {name!r}; it has: {ALL}, {', '.join(known)}"
            )
        for each in names:
            if version not in known[each]:
                raise SettingsError(
                    f"DEEPOCR_OPS={part}: {each} has no version {version!r}; "
                    f"it has: {', '.join(known[each])}"
                )
            forced[each] = version
    return forced
