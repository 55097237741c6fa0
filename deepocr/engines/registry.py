"""Name to engine. An engine's packages are imported only when it is asked for."""

import importlib
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
