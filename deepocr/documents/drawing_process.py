"""One process that draws, seen from the one that started it."""

import json
import logging
import mmap
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from deepocr.errors import (
    DocumentTooLarge,
    EngineUnavailable,
    PasswordNeeded,
    UnknownFormat,
    UnreadableDocument,
)

Header = dict[str, Any]

PLACE = struct.Struct("@QQII")
"""Header of the shared sheet: where the pixels end and the JSON begins, the length of the JSON in
bytes, and the picture's width and height, 0 without a picture."""

START_S = 120.0
"""Limit for starting a process, which takes 0.5 s on an idle machine."""

MAX_HEADER_BYTES = 64 << 20

KEEP_BYTES = 32 << 20
"""Of a process's sheet: memory that is new costs more time than what is written to it."""

_ROOT = Path(__file__).resolve().parents[2]

# only what Python needs: a hostile file must not find this process's keys and tokens
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")

# for the C library: what one page took is kept for the next: new memory costs time
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}

_ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        *(UnreadableDocument, UnknownFormat, DocumentTooLarge, PasswordNeeded),
        *(IndexError, OSError),
    )
}


class ProcessDied(Exception):
    """The process ended while it worked; the message says how."""


class NeedsMemory(Exception):
    """An allocation failed; the process has been ended."""


class DrawingProcess:
    """Used by one thread at a time, except for `kill` and `close_document`. Its answers are never
    unpickled: a hostile file may have taken control of it.
    """

    def __init__(self, memory_bytes: int, max_pixels: int) -> None:
        self.busy = False
        self.works_for: int | None = None
        """Key of the document it is working on."""
        self.documents: set[int] = set()
        """Keys of the documents that it was asked about and that are not closed."""
        self.num_answers = 0
        self._memory_bytes = memory_bytes
        self._sheet_bytes = 3 * max_pixels + MAX_HEADER_BYTES
        self._sheet: mmap.mmap
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._sending = threading.Lock()
        self._killed = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return not self._killed

    def ask(self, timeout_s: float, **request: Any) -> tuple[Header, Image.Image | None]:
        """Send a request and wait for the answer. Raises the errors of documents, and TimeoutError,
        NeedsMemory or ProcessDied, after which it is dead. Blocking, without the interpreter's
        lock."""
        try:
            connection = self._connection or self._start()
            _limit_wait(connection, timeout_s)
            self._send(connection, request)
            header, picture = self._receive(connection)
        except BlockingIOError as error:
            self.kill()
            raise TimeoutError from error
        except (EOFError, ConnectionError, ValueError) as error:
            self.kill()
            raise ProcessDied(self._how_it_ended()) from error
        except BaseException:
            self.kill()  # a late answer would be taken for the answer to the next request
            raise
        self.num_answers += 1
        for name, level, text in header["log"]:
            logging.getLogger(str(name)).log(int(level), "%s", text)
        if (kind := header.get("error")) == "MemoryError":
            self.kill()
            raise NeedsMemory
        if kind is not None:
            raise _ERRORS.get(str(kind), UnreadableDocument)(str(header["text"]))
        return header, picture

    def close_document(self, key: int) -> None:
        """Returns at once, whatever the process is doing."""
        if key in self.documents and self._connection is not None:
            self.documents.remove(key)
            try:
                self._send(self._connection, {"do": "close", "key": key})
            except OSError:
                pass  # it has ended, and everything in it is closed

    def kill(self) -> None:
        """End the process at once, whatever it is doing. May be called from any thread."""
        self._killed = True
        if self._process is not None:
            self._process.kill()

    def end(self) -> None:
        """Kill the process and free everything. No thread may be in `ask`."""
        self.kill()
        if self._process is not None:
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()
        if self._connection is not None:
            self._connection.close()
            self._sheet.close()

    def _start(self) -> socket.socket:
        sheet = _new_file(self._sheet_bytes)
        self._sheet = mmap.mmap(sheet, self._sheet_bytes)
        self._connection, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [
            *(sys.executable, "-P", "-m", "deepocr.documents.child"),
            *(str(theirs.fileno()), str(sheet), str(self._memory_bytes)),
        ]
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,  # its closing tells the child that this process is gone
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno(), sheet],
                    env={**environment, **_KEEP_MEMORY, "PYTHONPATH": os.pathsep.join(paths)},
                    start_new_session=True,  # Ctrl-C is for this process, which ends the child
                )
            if self._killed:
                self._process.kill()
            _limit_wait(self._connection, START_S)
            self._receive(self._connection)
        except (OSError, EOFError) as error:
            reason = getattr(error, "strerror", None) or self._how_it_ended()
            if self._killed or reason.startswith("signal"):
                raise ProcessDied(reason) from error
            self.kill()
            raise EngineUnavailable(
                f"no process that draws pages can be started ({reason}); the log may say more"
            ) from error
        finally:
            os.close(sheet)
        return self._connection

    def _send(self, connection: socket.socket, request: Header) -> None:
        with self._sending:
            connection.sendall(json.dumps(request).encode() + b"\n")

    def _receive(self, connection: socket.socket) -> tuple[Header, Image.Image | None]:
        # one call for everything: each return to Python may wait for a busy thread
        place = connection.recv(PLACE.size, socket.MSG_WAITALL)
        if len(place) < PLACE.size:
            raise EOFError
        middle, num_header, width_px, height_px = PLACE.unpack(place)
        start, end = middle - 3 * width_px * height_px, middle + num_header
        if start < 0 or end > self._sheet_bytes:
            raise ValueError(f"an answer that ends at {end}, {width_px} x {height_px} pixels")
        header = json.loads(self._sheet[middle:end])
        if not isinstance(header, dict):
            raise ValueError("an answer without a header")
        picture: Image.Image | None = None
        if width_px * height_px:
            # not with a color, which would be filled in while the interpreter's lock is held
            picture = Image.new("RGB", (width_px, height_px), None)
            with memoryview(self._sheet) as sheet, sheet[start:middle] as pixels:
                picture.frombytes(pixels)
        if end > KEEP_BYTES and sys.platform == "linux":
            self._sheet.madvise(mmap.MADV_REMOVE)
        return header, picture

    def _how_it_ended(self) -> str:
        """Waits until the process has ended."""
        assert self._process is not None
        code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _new_file(num_bytes: int) -> int:
    """A file in memory that takes no memory until something is written. Raises OSError."""
    if sys.platform == "linux":
        file = os.memfd_create("deepocr-page", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
    os.ftruncate(file, num_bytes)
    if sys.platform == "linux":
        # a side that truncated the file could crash the side that reads it
        import fcntl

        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
    return file


def _limit_wait(connection: socket.socket, timeout_s: float) -> None:
    """Not `settimeout`, which would turn one blocking call into many short ones."""
    microseconds = max(1, round(timeout_s * 1e6))
    wait = struct.pack("@ll", *divmod(microseconds, 1_000_000))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
