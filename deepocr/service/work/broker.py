"""The embedded broker: a Celery transport over one SQLite file.

Kombu's own file transports forget a message as soon as it is handed to a worker, so that killing
the worker loses it. This one keeps it until it is acknowledged; `restore_delivered` makes what a
dead worker held visible again. One worker process consumes at a time.
"""

import functools
import json
import logging
import sqlite3
import time
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, virtual

from deepocr.service.state.sqlite_file import SqliteFile
from deepocr.service.state.store import StoreUnavailableError

log = logging.getLogger(__name__)

SCHEME = "deepocr-sqlite"
_PREFIX = "file://"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    tag TEXT NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    payload TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_by_queue ON messages (queue, delivered, id);
CREATE INDEX IF NOT EXISTS messages_by_tag ON messages (tag);
"""

_WAITING = "FROM messages WHERE queue = ? AND delivered = 0"
_TAKE = f"""
UPDATE messages SET delivered = 1 WHERE id = (
    SELECT id {_WAITING} ORDER BY id LIMIT 1
) RETURNING payload
"""

STOP_LOOK_S = 0.5


@functools.cache
def _file(path: Path) -> SqliteFile:
    """One file object for all channels of this process: its lock is fairer than SQLite's."""
    return SqliteFile(path, _SCHEMA)


class QoS(virtual.QoS):
    """Acknowledging deletes the row; what is never acknowledged stays."""

    restore_at_shutdown = False

    def ack(self, delivery_tag: str) -> None:
        # first: otherwise a full disk would cost a prefetch slot
        super().ack(delivery_tag)
        self.channel.forget(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        # not super().reject: it would publish a second copy
        self._quick_ack(delivery_tag)
        if requeue:
            self.channel.give_back(delivery_tag)
        else:
            self.channel.forget(delivery_tag)


class Channel(virtual.Channel):
    """Queues are rows; the file is the host part of the URL."""

    QoS = QoS
    do_restore = False

    def __init__(self, connection: Any, **options: Any) -> None:
        super().__init__(connection, **options)
        self._file: SqliteFile = connection.file

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        tag = message["properties"]["delivery_tag"]
        with self._file.write() as rows:
            rows.execute(
                "INSERT INTO messages (queue, tag, payload) VALUES (?, ?, ?)",
                (queue, tag, json.dumps(message)),
            )

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:  # noqa: ARG002
        try:
            # most polls find nothing: look without the write lock first
            if not self._file.all(f"SELECT 1 {_WAITING} LIMIT 1", queue):
                raise Empty
            with self._file.write() as rows:
                row = rows.execute(_TAKE, (queue,)).fetchone()
        except StoreUnavailableError as error:
            # a full disk or a lock: the next poll tries again
            log.warning("the queue cannot be read just now: %s", error)
            time.sleep(STOP_LOOK_S)
            raise Empty from error
        if row is None:
            raise Empty
        payload: dict[str, Any] = json.loads(row[0])
        return payload

    def _size(self, queue: str) -> int:
        return int(self._file.one(f"SELECT count(*) {_WAITING}", queue)[0])

    def _purge(self, queue: str) -> int:
        size = self._size(queue)
        with self._file.write() as rows:
            rows.execute("DELETE FROM messages WHERE queue = ?", (queue,))
        return size

    def forget(self, tag: str) -> None:
        """Delete an acknowledged message."""
        with self._file.write() as rows:
            rows.execute("DELETE FROM messages WHERE tag = ?", (tag,))

    def give_back(self, tag: str) -> None:
        """Put a message back into its old place in the queue."""
        with self._file.write() as rows:
            rows.execute("UPDATE messages SET delivered = 0 WHERE tag = ?", (tag,))


class Transport(virtual.Transport):
    """Found by Kombu under `deepocr-sqlite+...` once `register` has been called."""

    Channel = Channel
    can_parse_url = True
    default_port = 0
    driver_type = "sql"
    driver_name = "sqlite3"
    connection_errors = (*virtual.Transport.connection_errors, StoreUnavailableError)
    channel_errors = (*virtual.Transport.channel_errors, sqlite3.DatabaseError)

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        # Celery checks for a stop only between polls
        super().drain_events(connection, timeout=min(timeout or STOP_LOOK_S, STOP_LOOK_S))

    @property
    def file(self) -> SqliteFile:
        return _file(Path(self.client.hostname.removeprefix(_PREFIX)))

    def driver_version(self) -> str:
        return sqlite3.sqlite_version


def register() -> None:
    """Make the transport known to Kombu by its scheme."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"


def url_of(path: Path) -> str:
    """The broker URL of a file."""
    return f"{SCHEME}+{_PREFIX}{path.absolute()}"


def restore_delivered(path: Path) -> int:
    """Make messages visible again that a lost worker had taken; returns how many.

    Raises StoreUnavailableError.
    """
    with _file(path).write() as rows:
        return rows.execute("UPDATE messages SET delivered = 0 WHERE delivered = 1").rowcount
