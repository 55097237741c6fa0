"""What runs in a process that draws: `python -m deepocr.documents.child SOCKET MEMORY_BYTES`.

It does one thing after the other and keeps documents open between them. Whoever started it
decides what is open, how long anything may take, and when it ends.
"""

import fcntl
import importlib
import logging
import os
import resource
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from PIL import Image

from deepocr.documents.document import Document, DocumentLimits
from deepocr.documents.opening import open_document
from deepocr.documents.wire import Header, Message, receive, send
from deepocr.errors import DeepOCRError

CALLABLE = frozenset({"deepocr.render.text_layer.add_text_layer"})
"""What `DocumentProcesses.call` may name."""

MAX_ERROR_CHARS = 1000

log = logging.getLogger(__name__)


class Documents:
    """The open ones, by the number that the other side gave them."""

    def __init__(self) -> None:
        self._open: dict[int, Document] = {}

    def answer(self, request: Header) -> Message:
        """Raises whatever opening or drawing raises."""
        arguments: Header = request["arguments"]
        match request["do"]:
            case "open":
                return self._open_one(**arguments), None
            case "info":
                return {}, None
            case "size":
                return self._size(**arguments), None
            case "page":
                return self._draw(**arguments)
            case "call":
                return {"result": _call(**arguments)}, None
            case unknown:
                raise ValueError(f"nobody can {unknown!r}")

    def close(self, key: int) -> None:
        document = self._open.pop(key, None)
        if document is not None:
            document.close()

    def _open_one(self, key: int, path: str, limits: list[int], **options: Any) -> Header:
        document = open_document(Path(path), DocumentLimits(*limits), **options)
        self._open[key] = document
        return {"kind": document.kind, "num_pages": document.num_pages}

    def _size(self, key: int, number: int) -> Header:
        return {"size_px": self._open[key].size_px(number)}

    def _draw(self, key: int, number: int, dpi: float | None) -> Message:
        page = self._open[key].page(number, dpi)
        words = [[word.text, *word.box_px] for word in page.words]
        return {"dpi": page.dpi, "words": words}, page.image


def _call(function: str, arguments: list[Any]) -> object:
    if function not in CALLABLE:
        raise ValueError(f"{function!r} is not for drawing processes")
    module, _, name = function.rpartition(".")
    result: object = getattr(importlib.import_module(module), name)(*arguments)
    return result


class Collected(logging.Handler):
    """Keeps what is logged until it is sent: only the process that asked knows where to."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((record.name, record.levelno, record.getMessage()[:MAX_ERROR_CHARS]))

    def take(self) -> list[tuple[str, int, str]]:
        records, self.records = self.records, []
        return records


def serve(connection: socket.socket) -> None:
    """Answer until the other side is gone."""
    logged = Collected()
    logging.getLogger().addHandler(logged)
    logging.captureWarnings(True)
    documents = Documents()
    while True:
        request, _ = receive(connection)
        if request["do"] == "close":
            documents.close(request["key"])
            continue
        picture: Image.Image | None = None
        try:
            header, picture = documents.answer(request)
        except (DeepOCRError, IndexError) as error:
            header = {"error": type(error).__name__, "text": str(error)[:MAX_ERROR_CHARS]}
        except OSError as error:
            header = {"error": "OSError", "text": error.strerror or ""}
        except MemoryError:
            header = {"error": "MemoryError", "text": ""}
        except Exception as error:  # noqa: BLE001  the document's fault, and told as such
            log.warning("%s", traceback.format_exc()[-MAX_ERROR_CHARS:])
            header = {"error": "UnreadableDocument", "text": str(error)[:MAX_ERROR_CHARS]}
        header["log"] = logged.take()
        send(connection, header, picture)


def end_with_parent() -> None:
    """Standard input is a pipe that only the parent holds: the kernel's SIGIO, which ends this
    process, comes when it closes, even while C code holds the interpreter's lock."""
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)


def limit_memory(num_bytes: int) -> None:
    """Allocations beyond `num_bytes` fail, on Linux; what the libraries take is not counted."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        limit = num_bytes + int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> None:
    end_with_parent()
    connection = socket.socket(fileno=int(sys.argv[1]))
    import deepocr.documents.pdf  # noqa: F401  now, so that no page waits for it

    limit_memory(int(sys.argv[2]))
    try:
        send(connection, {"ready": True})
        serve(connection)
    except (EOFError, ConnectionError):
        pass  # the other side is gone, and so is the reason for this process


if __name__ == "__main__":
    main()
