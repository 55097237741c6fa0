"""Files that are either whole or absent."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PART_SUFFIX = ".part"


@contextmanager
def new_file(path: Path, *, sync: bool = True) -> Iterator[IO[bytes]]:
    """A file that appears under its name only when the block ends well.

    It is written beside and renamed; with `sync` it is whole or absent after a power cut too.
    Safe from many threads and processes. Raises OSError.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """What a process was writing into the folder when it was killed."""
    for path in folder.glob(f".*{PART_SUFFIX}"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
