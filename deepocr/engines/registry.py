"""Name to engine. An engine's packages are imported only when it is asked for."""

import ctypes
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from typing import cast

from deepocr.engines.base import Engine
from deepocr.errors import EngineUnavailable
from deepocr.settings import Settings

ENGINES: Mapping[str, str] = {
    "deepseek": "deepocr.engines.deepseek.engine:create",
    "ppocr": "deepocr.engines.ppocr.engine:create",
    "remote": "deepocr.engines.remote:create",
    "scripted": "deepocr.engines.scripted:create",
}
"""Each entry is `module:function`; the function takes Settings and returns a ready Engine."""


def create_engine(settings: Settings) -> Engine:
    """The engine that `settings.engine` names, loaded and ready.

    Blocking: weights may be read or fetched. Raises EngineUnavailable naming what is missing;
    another engine is never taken in its place.
    """
    module_name, function_name = ENGINES[settings.engine].split(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        others = ", ".join(name for name in ENGINES if name != settings.engine)
        raise EngineUnavailable(
            f"engine {settings.engine!r} cannot be loaded: {error}; install what is missing "
            f"or set DEEPOCR_ENGINE to one of: {others}"
        ) from error
    factory = cast(Callable[[Settings], Engine], getattr(module, function_name))
    return factory(settings)


def best_here() -> tuple[str, str]:
    """The engine that suits this machine, for who named none, and why.

    Raises EngineUnavailable where none can read.
    """
    if importlib.util.find_spec("torch") is None:
        why = "torch is not installed"
    elif not _has_cuda():
        why = "there is no CUDA device"
    else:
        return "deepseek", "there is a CUDA device"
    if importlib.util.find_spec("rapidocr") is not None:
        return "ppocr", why
    raise EngineUnavailable(
        f"no engine can read here: {why}, and the CPU reader is not installed; "
        "pip install 'deepocr[ppocr]', or name an engine"
    )


def _has_cuda() -> bool:
    """Torch is not loaded for this where there is no driver: it takes seconds."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    import torch

    return torch.cuda.is_available()
