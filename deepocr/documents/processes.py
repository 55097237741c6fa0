"""Documents that are opened and drawn in processes of their own.

An untrusted file may draw for hours, take all memory or crash the process that draws it. Here that
costs one page: its process is ended, and the next page goes to another process.
"""

import functools
import importlib
import itertools
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from PIL import Image

from deepocr.documents.document import Document, Limits
from deepocr.documents.drawing_process import DrawingProcess, Header, NeedsMemory, ProcessDied
from deepocr.errors import PageTooCostly, UnreadableDocument
from deepocr.types import Dpi, Page, Word

if TYPE_CHECKING:  # loading its libraries is a third of a drawing process's start time
    from deepocr.settings import Settings

HERE = sys.platform == "win32"
"""There processes cannot share open files as they do here: documents are opened and drawn in this
process."""

log = logging.getLogger(__name__)

HERE = sys.platform == "win32"
"""Processes cannot share files there as they do elsewhere, so this one opens and draws."""

QUICK_OPEN_S = 0.02
"""A document that opens faster than this is opened in a second process instead of waiting for the
first."""


class DocumentProcesses:
    """Up to `count` processes, started when they are needed. Safe from many threads.

    Each page, and each opening of a document, may take `page_timeout_s` and `memory_bytes`; beyond
    that PageTooCostly is raised. `close` ends every process, whatever it is doing.
    """

    def __init__(
        self, limits: Limits, *, count: int, page_timeout_s: float, memory_bytes: int
    ) -> None:
        self._limits = limits
        self._count = count
        self._timeout_s = page_timeout_s
        self._max_pixels = 2 * limits.max_pixels  # MuPDF may draw a row more
        self._memory_bytes = memory_bytes
        self._changed = threading.Condition()
        self._processes: list[DrawingProcess] = []
        self._keys = itertools.count(1)
        self._closed = False

    @classmethod
    def of(cls, settings: "Settings") -> Self:
        return cls(
            settings,
            count=settings.draw_processes or min(4, os.cpu_count() or 1),
            page_timeout_s=settings.draw_timeout_s,
            memory_bytes=settings.draw_memory_bytes,
        )

    def open(
        self,
        source: bytes | Path,
        *,
        dpi: Dpi = 144,
        password: str = "",
        with_words: bool = False,
        max_side_px: int | None = None,
        decode: bool = True,
    ) -> Document:
        """Like `open_document`, with the same errors. Blocking."""
        options = {
            **{"dpi": dpi, "password": password, "with_words": with_words},
            **{"max_side_px": max_side_px, "decode": decode},
        }
        if HERE:
            _tell_that_nothing_protects()
            return _open_here(source, self._limits, options)
        return _OpenDocument(self, next(self._keys), source, self._limits, options)

    def close(self) -> None:
        """End every process; what is being drawn raises UnreadableDocument. May be repeated."""
        with self._changed:
            self._closed = True
            for process in self._processes:
                process.kill()
            idle = [process for process in self._processes if not process.busy]
            self._processes = [process for process in self._processes if process.busy]
            self._changed.notify_all()
        for process in idle:
            process.end()

    def pids(self) -> list[int]:
        """Process ids of the running processes."""
        with self._changed:
            return [process.pid for process in self._processes if process.pid]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: str, *arguments: object, timeout_s: float) -> object:
        """Call a function in such a process: one that `child.CALLABLE` names, with arguments and a
        result that JSON can hold. Blocking.

        Raises what documents raise, PageTooCostly for too much time or memory, and OSError.
        """
        if HERE:
            module, _, name = function.rpartition(".")
            return getattr(importlib.import_module(module), name)(*arguments)
        asked = {"function": function, "arguments": arguments}
        header, _ = self.ask(None, "the file", timeout_s, do="call", **asked)
        return header["result"]

    def ask(
        self,
        document: "_OpenDocument | None",
        what: str,
        timeout_s: float | None = None,
        **request: Any,
    ) -> tuple[Header, Image.Image | None]:
        """Have a process answer a request, preferably one that has the document open. A request
        whose process died, or that ran out of memory in a used process, is tried once more: an
        earlier page may be to blame, or the process was killed from outside.
        """
        timeout_s = timeout_s or self._timeout_s
        for last in (False, True):
            process = self._take(document)
            fresh = process.num_answers == 0
            try:
                return process.ask(timeout_s, **request)
            except TimeoutError as error:
                raise PageTooCostly(
                    f"{what} took more than {timeout_s:g} s and was stopped; save the "
                    "document again, in a simpler way, or raise DEEPOCR_DRAW_TIMEOUT_S"
                ) from error
            except NeedsMemory as error:
                if fresh or last:
                    raise PageTooCostly(
                        f"{what} needs more than {self._memory_bytes:,} bytes of memory; save the "
                        "document again, in a simpler way, or raise DEEPOCR_DRAW_MEMORY_BYTES"
                    ) from error
            except ProcessDied as error:
                if self._closed:
                    raise _stopped() from error
                if last:
                    raise UnreadableDocument(
                        f"{what} ended the process that worked on it, twice ({error}); save the "
                        "document again"
                    ) from error
            finally:
                self._give_back(process)
        raise AssertionError("the last try returns or raises")

    def forget(self, document: "_OpenDocument") -> None:
        """Close a document in every process, without waiting for pages that are being drawn."""
        with self._changed:
            for process in self._processes:
                if process.works_for == document.key:
                    process.kill()
                else:
                    process.close_document(document.key)

    def _take(self, document: "_OpenDocument | None") -> DrawingProcess:
        with self._changed:
            while True:
                if self._closed:
                    raise _stopped()
                if document and document.is_closed:
                    raise UnreadableDocument("the document has been closed; open it again")
                process = self._find(document)
                if process is not None:
                    process.busy = True
                    if document:
                        process.works_for = document.key
                        process.documents.add(document.key)
                    return process
                self._changed.wait()

    def _find(self, document: "_OpenDocument | None") -> DrawingProcess | None:
        """The process to use now, or None if one must be waited for."""
        free = [process for process in self._processes if not process.busy]
        if document:
            having = [process for process in self._processes if document.key in process.documents]
            if free_having := [process for process in having if not process.busy]:
                return free_having[0]
            if having and document.open_s > QUICK_OPEN_S:
                return None
        if free:
            return min(free, key=lambda process: len(process.documents))
        if len(self._processes) < self._count:
            self._processes.append(DrawingProcess(self._memory_bytes, self._max_pixels))
            return self._processes[-1]
        return None

    def _give_back(self, process: DrawingProcess) -> None:
        with self._changed:
            process.busy, process.works_for = False, None
            if self._closed:
                process.kill()
            if not process.alive:
                self._processes.remove(process)
            self._changed.notify_all()
        if not process.alive:
            process.end()


class _OpenDocument(Document):
    """A document that is open in some of the processes, or in none at the moment."""

    def __init__(
        self,
        processes: DocumentProcesses,
        key: int,
        source: bytes | Path,
        limits: Limits,
        options: Mapping[str, object],
    ) -> None:
        super().__init__("pdf", 0, limits)  # until it has been opened
        self.key = key
        self.open_s = 0.0
        """How long opening it took in seconds; short if it was open already."""
        self.is_closed = False
        self._processes = processes
        self._files = ExitStack()
        if isinstance(source, bytes):
            temporary = tempfile.NamedTemporaryFile(prefix="deepocr-")  # noqa: SIM115  till `close`
            file = self._files.enter_context(temporary)
            file.write(source)
            file.flush()
            source = Path(file.name)
        self._how_to_open: dict[str, object] = {
            "path": str(source.absolute()),
            "limits": [limits.max_pixels, limits.max_bytes, limits.max_pages],
            "options": options,
            "known": None,
        }
        try:
            header, _ = self._ask("opening the document", do="open")
        except BaseException:
            self.close()
            raise
        self.kind, self.num_pages, self.open_s = (
            header[name] for name in ("kind", "num_pages", "open_s")
        )
        self._how_to_open["known"] = (self.kind, self.num_pages)

    def page(self, number: int, dpi: float | None = None) -> Page:
        self.check_number(number)
        header, picture = self._ask(f"page {number}", do="page", number=number, dpi=dpi)
        if picture is None:
            raise UnreadableDocument(f"page {number} came without its pixels")
        words = tuple(Word(text, (x1, y1, x2, y2)) for text, x1, y1, x2, y2 in header["words"])
        return Page(number, picture, header["dpi"], words)

    def size_px(self, number: int) -> tuple[int, int]:
        self.check_number(number)
        header, _ = self._ask(f"page {number}", do="size", number=number)
        width_px, height_px = header["size_px"]
        return int(width_px), int(height_px)

    def close(self) -> None:
        self.is_closed = True
        self._processes.forget(self)
        self._files.close()

    def _ask(self, what: str, **asked: Any) -> tuple[Header, Image.Image | None]:
        return self._processes.ask(self, what, key=self.key, how_to_open=self._how_to_open, **asked)


@functools.cache
def _tell_that_nothing_protects() -> None:
    log.warning(
        "documents are opened in this process: on Windows a damaged or hostile one can hold or "
        "end the program; Linux and macOS have processes of their own for that"
    )


def _open_here(source: bytes | Path, limits: Limits, options: Mapping[str, Any]) -> Document:
    from deepocr.documents.opening import open_document

    return open_document(source, limits, **options)


def _stopped() -> UnreadableDocument:
    return UnreadableDocument("no more pages are drawn: the program is stopping")
