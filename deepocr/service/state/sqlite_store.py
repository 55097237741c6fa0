"""Task states in one SQLite file, for one machine."""

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepocr.service.state.records import (
    FINAL,
    QueueFullError,
    Snapshot,
    State,
    TaskProgress,
    TaskRecord,
    TooManyTasksError,
)
from deepocr.service.state.store import WORKER_TTL_S, StoreUnavailableError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT UNIQUE NOT NULL,
    client TEXT NOT NULL,
    owner TEXT NOT NULL,
    idempotency_key TEXT,
    lane TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'PENDING',
    started_s REAL,
    finished_s REAL,
    expires_s REAL NOT NULL,
    error TEXT,
    record TEXT NOT NULL,
    UNIQUE (owner, idempotency_key)
);
CREATE INDEX IF NOT EXISTS tasks_by_state ON tasks (state, lane, seq);
CREATE INDEX IF NOT EXISTS tasks_by_client ON tasks (client, state);
CREATE TABLE IF NOT EXISTS pages (
    task_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    status TEXT,
    live TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (task_id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS workers (worker_id TEXT PRIMARY KEY, beat_s REAL, info TEXT);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value REAL NOT NULL);
CREATE TABLE IF NOT EXISTS turns (name TEXT PRIMARY KEY, until_s REAL NOT NULL);
"""

_COUNT = """
INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value
"""
_UNFINISHED = "state IN ('PENDING', 'STARTED')"
_COLUMNS = "record, state, started_s, finished_s, error, task_id"


class SqliteStore:
    """A connection per thread; writers wait for one another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # SQLite's own waiting sleeps in steps; among threads a lock wakes the next at once
        self._writing = threading.Lock()
        self._local = threading.local()
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._write() as rows:
            for statement in _SCHEMA.split(";"):
                rows.execute(statement)

    def create(
        self, record: TaskRecord, *, max_client_tasks: int, max_tasks: int, ttl_s: float
    ) -> TaskRecord:
        with self._write() as rows:
            if record.idempotency_key is not None:
                earlier = rows.execute(
                    "SELECT record FROM tasks WHERE owner = ? AND idempotency_key = ?",
                    (record.owner, record.idempotency_key),
                ).fetchone()
                if earlier:
                    return TaskRecord.model_validate_json(earlier[0])
            count = f"SELECT count(*) FROM tasks WHERE {_UNFINISHED}"
            of_client = rows.execute(f"{count} AND client = ?", (record.client,)).fetchone()[0]
            if of_client >= max_client_tasks:
                raise TooManyTasksError
            if rows.execute(count).fetchone()[0] >= max_tasks:
                raise QueueFullError
            rows.execute(
                "INSERT INTO tasks (task_id, client, owner, idempotency_key, lane, expires_s, "
                "record) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    record.task_id,
                    record.client,
                    record.owner,
                    record.idempotency_key,
                    record.lane,
                    record.created_s + ttl_s,
                    record.model_dump_json(),
                ),
            )
        return record

    def task(self, task_id: str) -> Snapshot | None:
        row = self._one(f"SELECT {_COLUMNS} FROM tasks WHERE task_id = ?", task_id)
        return self._snapshot(row) if row else None

    def tasks_of(self, owner: str, limit: int) -> list[Snapshot]:
        rows = self._all(
            f"SELECT {_COLUMNS} FROM tasks WHERE owner = ? ORDER BY seq DESC LIMIT ?", owner, limit
        )
        return [self._snapshot(row) for row in rows]

    def begin_page(self, task_id: str, number: int) -> int:
        with self._write() as rows:
            if not _open_page(rows, task_id, number):
                return 0
            rows.execute(
                "UPDATE tasks SET state = 'STARTED', started_s = ? "
                "WHERE task_id = ? AND state = 'PENDING'",
                (time.time(), task_id),
            )
            attempts = rows.execute(
                "INSERT INTO pages (task_id, number, attempts) VALUES (?, ?, 1) "
                "ON CONFLICT DO UPDATE SET attempts = attempts + 1, live = '' RETURNING attempts",
                (task_id, number),
            ).fetchone()
            return int(attempts[0])

    def settle_page(
        self, task_id: str, number: int, status: str, counts: Sequence[tuple[str, float]] = ()
    ) -> bool:
        with self._write() as rows:
            if not _open_page(rows, task_id, number):
                return False
            rows.execute(
                "INSERT INTO pages (task_id, number, status) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET status = excluded.status, live = ''",
                (task_id, number, status),
            )
            rows.executemany(_COUNT, counts)
            return True

    def finish(self, task_id: str, state: State, error: str | None = None) -> bool:
        with self._write() as rows:
            changed = rows.execute(
                "UPDATE tasks SET state = ?, error = ?, finished_s = ? "
                f"WHERE task_id = ? AND {_UNFINISHED}",
                (state, error, time.time(), task_id),
            )
            return changed.rowcount == 1

    def ahead(self, task_id: str) -> int:
        row = self._one(
            "SELECT count(*) FROM tasks AS other JOIN tasks AS mine ON mine.task_id = ? "
            "WHERE other.state = 'PENDING' AND other.lane = mine.lane AND other.seq < mine.seq",
            task_id,
        )
        return int(row[0]) if row else 0

    def pending(self) -> Mapping[str, int]:
        found = dict(
            self._all("SELECT lane, count(*) FROM tasks WHERE state = 'PENDING' GROUP BY lane")
        )
        return {"short": 0, "long": 0, **found}

    def unfinished(self) -> list[str]:
        return [
            row[0]
            for row in self._all(f"SELECT task_id FROM tasks WHERE {_UNFINISHED} ORDER BY seq")
        ]

    def progress(self, task_ids: Iterable[str]) -> dict[str, TaskProgress]:
        found = {}
        for task_id in task_ids:
            row = self._one(
                "SELECT state, (SELECT count(*) FROM pages WHERE pages.task_id = tasks.task_id "
                "AND status IS NOT NULL) FROM tasks WHERE task_id = ?",
                task_id,
            )
            if row:
                found[task_id] = TaskProgress(row[0], row[1])
        return found

    def expired(self, now_s: float) -> list[str]:
        return [row[0] for row in self._all("SELECT task_id FROM tasks WHERE expires_s < ?", now_s)]

    def delete(self, task_id: str) -> None:
        with self._write() as rows:
            rows.execute("DELETE FROM tasks WHERE task_id = ?", (task_id,))
            rows.execute("DELETE FROM pages WHERE task_id = ?", (task_id,))

    def write_live(self, task_id: str, number: int, text: str) -> None:
        with self._write() as rows:
            rows.execute(
                "UPDATE pages SET live = ? WHERE task_id = ? AND number = ? AND status IS NULL",
                (text, task_id, number),
            )

    def read_live(self, task_id: str, number: int) -> str:
        row = self._one("SELECT live FROM pages WHERE task_id = ? AND number = ?", task_id, number)
        return str(row[0]) if row else ""

    def beat(self, worker_id: str, info: Mapping[str, Any]) -> None:
        with self._write() as rows:
            rows.execute(
                "INSERT OR REPLACE INTO workers VALUES (?, ?, ?)",
                (worker_id, time.time(), json.dumps(dict(info))),
            )
            rows.execute("DELETE FROM workers WHERE beat_s < ?", (time.time() - WORKER_TTL_S,))

    def workers(self) -> dict[str, dict[str, Any]]:
        oldest_s = time.time() - WORKER_TTL_S
        rows = self._all("SELECT worker_id, info FROM workers WHERE beat_s >= ?", oldest_s)
        return {worker_id: json.loads(info) for worker_id, info in rows}

    def forget_worker(self, worker_id: str) -> None:
        with self._write() as rows:
            rows.execute("DELETE FROM workers WHERE worker_id = ?", (worker_id,))

    def count(self, amounts: Sequence[tuple[str, float]]) -> None:
        with self._write() as rows:
            rows.executemany(_COUNT, amounts)

    def counters(self) -> dict[str, float]:
        return dict(self._all("SELECT name, value FROM counters"))

    def once(self, name: str, seconds: float) -> bool:
        now_s = time.time()
        with self._write() as rows:
            changed = rows.execute(
                "INSERT INTO turns VALUES (?, ?) ON CONFLICT DO UPDATE "
                "SET until_s = excluded.until_s WHERE until_s <= ?",
                (name, now_s + seconds, now_s),
            )
            return changed.rowcount == 1

    def close(self) -> None:
        """Connections of other threads close with their threads."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _snapshot(self, row: Any) -> Snapshot:
        record, state, started_s, finished_s, error, task_id = row
        pages = self._all("SELECT number, attempts, status FROM pages WHERE task_id = ?", task_id)
        return Snapshot(
            record=TaskRecord.model_validate_json(record),
            state=state,
            started_s=started_s,
            finished_s=finished_s,
            error=error,
            settled={number: status for number, _, status in pages if status is not None},
            attempts={number: attempts for number, attempts, _ in pages},
        )

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            try:
                connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
            except sqlite3.Error as error:
                raise StoreUnavailableError(f"{self._path}: {error}") from error
            self._local.connection = connection
        return connection

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        try:
            with self._writing:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise StoreUnavailableError(f"{self._path}: {error}") from error

    def _all(self, query: str, *values: Any) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.OperationalError as error:
            raise StoreUnavailableError(f"{self._path}: {error}") from error

    def _one(self, query: str, *values: Any) -> Any:
        found = self._all(query, *values)
        return found[0] if found else None


def _open_page(rows: sqlite3.Connection, task_id: str, number: int) -> bool:
    """Whether there is anything left to do for a page."""
    row = rows.execute(
        "SELECT state, (SELECT status FROM pages WHERE pages.task_id = tasks.task_id "
        "AND number = ?) FROM tasks WHERE task_id = ?",
        (number, task_id),
    ).fetchone()
    return row is not None and row[0] not in FINAL and row[1] is None
