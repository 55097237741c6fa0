"""One SQLite file that threads of several processes write."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepocr.service.state.store import ANSWER_S, StoreUnavailableError


class SqliteFile:
    """One connection per thread; writers wait for each other. Raises StoreUnavailableError."""

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        # SQLite waits by sleeping in steps; a lock wakes the next thread at once
        self._writing = threading.Lock()
        self._local = threading.local()
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.write() as rows:
            for statement in schema.split(";"):
                rows.execute(statement)

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """An exclusive transaction."""
        with self._connected() as connection:
            if not self._writing.acquire(timeout=ANSWER_S):
                raise StoreUnavailableError("other threads have been writing for too long")
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:  # a full disk rolls back by itself
                        connection.execute("ROLLBACK")
                    raise
            finally:
                self._writing.release()

    def run(self, statement: str, *values: Any) -> int:
        """A transaction of one statement; the number of rows that it changed."""
        with self.write() as rows:
            return rows.execute(statement, values).rowcount

    def all(self, query: str, *values: Any) -> list[Any]:
        with self._connected() as connection:
            return connection.execute(query, values).fetchall()

    def one(self, query: str, *values: Any) -> Any:
        """The first row, or None."""
        found = self.all(query, *values)
        return found[0] if found else None

    def column(self, query: str, *values: Any) -> list[str]:
        return [row[0] for row in self.all(query, *values)]

    def close(self) -> None:
        """Connections of other threads close with their threads."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection; its errors become StoreUnavailableError."""
        try:
            connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = sqlite3.connect(self._path, timeout=ANSWER_S, isolation_level=None)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                self._local.connection = connection
            yield connection
        except sqlite3.OperationalError as error:
            raise StoreUnavailableError(f"{self._path.name} cannot be used: {error}") from error
