"""One process that draws, seen from the one that started it."""

import logging
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

from deepocr.documents.wire import Header, Message, receive, send
from deepocr.errors import (
    DocumentTooLarge,
    EngineUnavailable,
    PasswordNeeded,
    UnknownFormat,
    UnreadableDocument,
)

START_S = 120.0
"""For starting, which takes 0.2 s on a machine that has nothing else to do."""

_ROOT = Path(__file__).resolve().parents[2]

# no more than Python needs: the keys and tokens of this process are not for files of strangers
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")

_ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        *(UnreadableDocument, UnknownFormat, DocumentTooLarge, PasswordNeeded),
        *(IndexError, OSError),
    )
}


class ProcessDied(Exception):
    """The process ended in the middle of its work; the text says how."""


class NeedsMemory(Exception):
    """An allocation failed; the process has been ended."""


class DrawingProcess:
    """For one thread at a time, but for `kill` and `close_document`."""

    def __init__(self, memory_bytes: int) -> None:
        self.busy = False
        self.documents: dict[int, None] = {}
        """Keys of those that are open in it, the one that was used last at the end."""
        self.num_answers = 0
        self._memory_bytes = memory_bytes
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

    def ask(self, do: str, arguments: Header, timeout_s: float, max_pixels: int) -> Message:
        """Send it something to do and wait. Raises the errors of documents, and TimeoutError,
        NeedsMemory or ProcessDied, after which it is dead. Blocking, without the interpreter's
        lock."""
        try:
            connection = self._connection or self._start()
            _limit_wait(connection, timeout_s)
            with self._sending:
                send(connection, {"do": do, "arguments": arguments})
            header, picture = receive(connection, max_pixels)
        except BlockingIOError as error:
            self.kill()
            raise TimeoutError from error
        except (EOFError, ConnectionError, ValueError) as error:
            self.kill()
            raise ProcessDied(self._how_it_ended()) from error
        except BaseException:
            self.kill()  # its answer would be taken for that to the next question
            raise
        self.num_answers += 1
        for name, level, text in header.pop("log", ()):
            logging.getLogger(str(name)).log(int(level), "%s", text)
        if (kind := header.get("error")) == "MemoryError":
            self.kill()
            raise NeedsMemory
        if kind is not None:
            raise _ERRORS.get(str(kind), UnreadableDocument)(str(header["text"]))
        return header, picture

    def close_document(self, key: int) -> None:
        """Does not wait for it, nor for what it is doing."""
        if self.documents.pop(key, key) is None and self._connection is not None:
            try:
                with self._sending:
                    send(self._connection, {"do": "close", "key": key})
            except OSError:
                pass  # it has ended, and everything in it is closed

    def kill(self) -> None:
        """End it at once, whatever it does; from any thread."""
        self._killed = True
        if self._process is not None:
            self._process.kill()

    def end(self) -> None:
        """Kill it and leave nothing behind; once no thread is in `ask`."""
        self.kill()
        if self._process is not None:
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()
        if self._connection is not None:
            self._connection.close()

    def _start(self) -> socket.socket:
        connection, theirs = socket.socketpair()
        self._connection = connection
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [
            *(sys.executable, "-P", "-m", "deepocr.documents.child"),
            *(str(theirs.fileno()), str(self._memory_bytes)),
        ]
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,  # its closing tells the child that this process is gone
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
                    start_new_session=True,  # Ctrl-C is for this process, which ends the child
                )
            if self._killed:
                self._process.kill()
            _limit_wait(connection, START_S)
            receive(connection)
        except (OSError, EOFError) as error:
            reason = getattr(error, "strerror", None) or self._how_it_ended()
            if self._killed or reason.startswith("signal"):
                raise ProcessDied(reason) from error
            self.kill()
            raise EngineUnavailable(
                f"no process that draws pages can be started ({reason}); the log may say more"
            ) from error
        return connection

    def _how_it_ended(self) -> str:
        """Waits for its end."""
        assert self._process is not None
        code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _limit_wait(connection: socket.socket, timeout_s: float) -> None:
    """Not `settimeout`, which would make of one blocking call many short ones."""
    microseconds = max(1, round(timeout_s * 1e6))
    wait = struct.pack("@ll", *divmod(microseconds, 1_000_000))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
