"""What runs in a process that draws: `python -m deepocr.documents.child SOCKET SHEET MEMORY_BYTES`.

It answers one request at a time and keeps documents open between requests. A request is a line of
JSON on SOCKET. Its answer, a picture's pixels and JSON after them, is written into the file SHEET,
which both sides share; SOCKET says only where.
"""

import fcntl
import importlib
import json
import logging
import os
import resource
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from PIL import Image

from deepocr.documents.document import Document, DocumentLimits
from deepocr.documents.drawing_process import PLACE, Header
from deepocr.documents.opening import open_document
from deepocr.errors import DeepOCRError, UnreadableDocument

CALLABLE = frozenset({"deepocr.render.text_layer.add_text_layer"})
"""What `DocumentProcesses.call` may name."""

OPEN_IN_ONE = 16
"""Most documents that one process keeps open; the least recently used one is closed."""

MAX_ERROR_CHARS = 1000

log = logging.getLogger(__name__)


class Documents:
    """Open documents by the key that the other side gave them, the most recently used last."""

    def __init__(self) -> None:
        self._open: dict[int, Document] = {}

    def answer(
        self, do: str, key: int, how_to_open: Mapping[str, Any], **asked: Any
    ) -> tuple[Header, Image.Image | None]:
        """Open the document if it is not open yet, and do what is asked. Raises what either step
        raises."""
        started_s = time.perf_counter()
        document = self._get(key, **how_to_open)
        header = {
            "kind": document.kind,
            "num_pages": document.num_pages,
            "open_s": time.perf_counter() - started_s,
        }
        match do:
            case "size":
                return header | {"size_px": document.size_px(**asked)}, None
            case "page":
                page = document.page(**asked)
                words = [(word.text, *word.box_px) for word in page.words]
                return header | {"dpi": page.dpi, "words": words}, page.image
        return header, None

    def close(self, key: int) -> None:
        document = self._open.pop(key, None)
        if document is not None:
            document.close()

    def _get(
        self,
        key: int,
        path: str,
        limits: tuple[int, int, int],
        options: Mapping[str, Any],
        known: tuple[str, int] | None,
    ) -> Document:
        """`known` is what another process found the document to be."""
        document = self._open.pop(key, None)
        if document is None:
            document = open_document(Path(path), DocumentLimits(*limits), **options)
        self._open[key] = document
        if known and (document.kind, document.num_pages) != tuple(known):
            self.close(key)
            raise UnreadableDocument("the file changed while it was read; begin again")
        if len(self._open) > OPEN_IN_ONE:
            self.close(next(iter(self._open)))
        return document


def _call(function: str, arguments: list[Any]) -> Header:
    if function not in CALLABLE:
        raise ValueError(f"{function!r} is not for drawing processes")
    module, _, name = function.rpartition(".")
    return {"result": getattr(importlib.import_module(module), name)(*arguments)}


class Collected(logging.Handler):
    """Collects log records until they are sent: only the process that asked knows where they go."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((record.name, record.levelno, record.getMessage()[:MAX_ERROR_CHARS]))


def serve(connection: socket.socket, sheet: FileIO) -> None:
    """Answer requests until the other side is gone."""
    logged = Collected()
    logging.getLogger().addHandler(logged)
    logging.captureWarnings(True)
    documents = Documents()
    _send(connection, sheet, {}, None)
    for line in connection.makefile("rb"):
        request = json.loads(line)
        if request["do"] == "close":
            documents.close(request["key"])
            continue
        header: Header
        picture: Image.Image | None = None
        try:
            if request["do"] == "call":
                header = _call(request["function"], request["arguments"])
            else:
                header, picture = documents.answer(**request)
        except (DeepOCRError, IndexError) as error:
            header = {"error": type(error).__name__, "text": str(error)[:MAX_ERROR_CHARS]}
        except OSError as error:
            header = {"error": "OSError", "text": error.strerror or ""}
        except MemoryError:
            header = {"error": "MemoryError", "text": ""}
        except Exception as error:  # noqa: BLE001  the document's fault, and told as such
            log.warning("%s", traceback.format_exc()[-MAX_ERROR_CHARS:])
            header = {"error": "UnreadableDocument", "text": str(error)[:MAX_ERROR_CHARS]}
        header["log"], logged.records = logged.records, []
        _send(connection, sheet, header, picture)


def _send(
    connection: socket.socket, sheet: FileIO, header: Header, picture: Image.Image | None
) -> None:
    sheet.seek(0)
    if picture is not None:
        picture.save(sheet, "PPM")  # RGB as it is after a line of text, and without a copy of it
    encoded = json.dumps(header).encode()
    size_px = picture.size if picture else (0, 0)
    connection.sendall(PLACE.pack(sheet.tell(), sheet.write(encoded), *size_px))


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

    limit_memory(int(sys.argv[3]))
    try:
        with FileIO(int(sys.argv[2]), "wb") as sheet:
            serve(connection, sheet)
    except ConnectionError:
        pass  # the other side is gone, and so is the reason for this process


if __name__ == "__main__":
    main()
