"""Documents of an object store as files on this machine."""

import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from deepocr.errors import DocumentTooLarge, UnreadableDocument
from deepocr.parsing.text import encodable
from deepocr.storage import asked, connect, is_remote

COPIES = "deepocr-copies-"

NOT_UTF8 = "file:"
"""Before a quoted path; other paths are absolute, and addresses of stores have `://`."""


class Copies:
    """Documents as files on this machine: those that lie elsewhere are fetched.

    Who needs the same one at once, or soon after, shares it. Copies that nobody uses are kept up to
    `keep_bytes`, the oldest go first. Safe from many threads; close it at the end.
    """

    def __init__(self, *, max_bytes: int, keep_bytes: int = 2 << 30) -> None:
        self._max_bytes = max_bytes
        self._keep_bytes = keep_bytes
        _remove_copies_of_the_dead()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{COPIES}{os.getpid()}-"))
        self._numbers = itertools.count()
        self._copies: dict[str, _Copy] = {}
        self._changing = threading.Lock()

    @contextmanager
    def copy(self, address: str) -> Iterator[Path]:
        """The file, which stays during the block.

        Raises DocumentTooLarge, UnreadableDocument where this one cannot be had, StorageError where
        its store does not answer.
        """
        if address.startswith(NOT_UTF8):
            with self._link(unquote_to_bytes(address.removeprefix(NOT_UTF8))) as link:
                yield link
            return
        if not is_remote(address):
            yield Path(address)
            return
        with self._changing:
            copy = self._copies.pop(address, None)
            copy = copy or _Copy(self._folder / str(next(self._numbers)))
            self._copies[address] = copy  # the newest
            copy.users += 1
        try:
            with copy.fetching:
                if not copy.num_bytes:
                    copy.num_bytes = download(address, copy.path, max_bytes=self._max_bytes)
                    with self._changing:
                        self._drop_oldest()
            yield copy.path
        finally:
            with self._changing:
                copy.users -= 1
                self._drop_oldest()

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def _link(self, path: bytes) -> Iterator[Path]:
        """MuPDF opens only names that are UTF-8."""
        with self._changing:
            link = self._folder / str(next(self._numbers))
        link.symlink_to(os.fsdecode(path))
        try:
            yield link
        finally:
            link.unlink()

    def _drop_oldest(self) -> None:
        kept = sum(copy.num_bytes for copy in self._copies.values())
        for address, copy in list(self._copies.items()):
            if not copy.users and (kept > self._keep_bytes or not copy.num_bytes):
                del self._copies[address]
                copy.path.unlink(missing_ok=True)
                kept -= copy.num_bytes


def address_of(path: str) -> str:
    """A local path as text that UTF-8 can encode: a name of other bytes becomes `file:/…%FF…`."""
    return path if encodable(path) == path else f"{NOT_UTF8}{quote(os.fsencode(path))}"


def _remove_copies_of_the_dead() -> None:
    """A process that was killed leaves its copies. Only /proc tells who lives: elsewhere the system
    clears its temporary folder."""
    if not Path("/proc/self").exists():
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{COPIES}*-*"):
        pid = folder.name.removeprefix(COPIES).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(eq=False)
class _Copy:
    """`num_bytes` is 0 until it has been fetched."""

    path: Path
    users: int = 0
    num_bytes: int = 0
    fetching: threading.Lock = field(default_factory=threading.Lock)


def download(address: str, path: Path, *, max_bytes: int) -> int:
    """Fetch an object; its size. Raises as `Copies.copy`."""
    files, source = connect(address)
    try:
        num_bytes = int(asked(lambda: files.info(source), address)["size"])
        if num_bytes > max_bytes:
            raise DocumentTooLarge(
                f"the document has {num_bytes:,} bytes; at most {max_bytes:,} are read: split it "
                "or raise DEEPOCR_MAX_BYTES"
            )
        asked(lambda: files.get_file(source, str(path)), address)
    except (FileNotFoundError, PermissionError) as error:
        raise UnreadableDocument(
            f"{address} is not there or may not be read; check the address and the key's rights"
        ) from error
    return num_bytes
