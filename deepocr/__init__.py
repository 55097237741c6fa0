"""Pages in, text with boxes out: DeepSeek-OCR and PP-OCR behind one pipeline.

    import deepocr

    with deepocr.Reader() as reader:
        print(reader.read("report.pdf", pages="1-3").markdown)

What is named here is kept stable (docs/library.md); other modules may change. Each name is loaded
when it is first used, so that the import itself costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from deepocr.errors import (
        DeepOCRError,
        DocumentTooLarge,
        EngineBroken,
        EngineError,
        EngineUnavailable,
        InvalidInput,
        PageRangeError,
        PasswordNeeded,
        RemoteError,
        SettingsError,
        StorageError,
        UnreadableDocument,
        UnsupportedTask,
    )
    from deepocr.library.async_reader import AsyncReader
    from deepocr.library.reader import Reader
    from deepocr.library.result import Result, ResultPage, Text
    from deepocr.types import Line, Region

__all__ = [
    "AsyncReader",
    "DeepOCRError",
    "DocumentTooLarge",
    "EngineBroken",
    "EngineError",
    "EngineUnavailable",
    "InvalidInput",
    "Line",
    "PageRangeError",
    "PasswordNeeded",
    "Reader",
    "Region",
    "RemoteError",
    "Result",
    "ResultPage",
    "SettingsError",
    "StorageError",
    "Text",
    "UnreadableDocument",
    "UnsupportedTask",
    "__version__",
]

_PLACES = {
    "AsyncReader": "deepocr.library.async_reader",
    "Reader": "deepocr.library.reader",
    "Result": "deepocr.library.result",
    "ResultPage": "deepocr.library.result",
    "Text": "deepocr.library.result",
    "Line": "deepocr.types",
    "Region": "deepocr.types",
}
"""Where the names are; the others are errors."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'deepocr' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES.get(name, "deepocr.errors")), name)


def __dir__() -> list[str]:
    return __all__
