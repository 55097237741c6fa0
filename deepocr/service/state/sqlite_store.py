"""Task states in one SQLite file, for one machine."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepocr.service.settings import ServiceSettings
from deepocr.service.state.records import (
    NoBytesLeftError,
    QueueFullError,
    Snapshot,
    State,
    Suspicion,
    TaskProgress,
    TaskRecord,
    TooManyBytesError,
    TooManyTasksError,
)
from deepocr.service.state.sqlite_file import SqliteFile
from deepocr.service.state.sqlite_schema import COUNT, FIELDS, SCHEMA, UNFINISHED, WEIGH
from deepocr.service.state.store import (
    WORKER_TTL_S,
    Store,
    is_open,
    snapshot_of,
)

LOOK_S = 0.05


class SqliteStore(Store):
    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, SCHEMA)
        self._local = threading.local()

    def create(self, record: TaskRecord, settings: ServiceSettings) -> TaskRecord:
        with self._file.write() as rows:
            if record.idempotency_key is not None:
                earlier = rows.execute(
                    "SELECT record FROM tasks WHERE owner = ? AND idempotency_key = ?",
                    (record.owner, record.idempotency_key),
                ).fetchone()
                if earlier:
                    return TaskRecord.model_validate_json(earlier[0])
            count = f"SELECT count(*) FROM tasks WHERE {UNFINISHED}"
            of_client = rows.execute(f"{count} AND client = ?", (record.client,)).fetchone()[0]
            if of_client >= settings.max_client_tasks:
                raise TooManyTasksError
            if rows.execute(count).fetchone()[0] >= settings.max_pending_tasks:
                raise QueueFullError
            _keep_bytes(rows, record, settings)
            values = {
                "task_id": record.task_id,
                "client": record.client,
                "owner": record.owner,
                "idempotency_key": record.idempotency_key,
                "lane": record.lane,
                "pages": len(record.numbers),
                "missing": len(record.numbers),
                "expires_s": record.created_s + settings.result_ttl_s,
                "webhook": record.webhook is not None,
                "record": record.model_dump_json(),
            }
            places = ", ".join("?" * len(values))
            rows.execute(
                f"INSERT INTO tasks ({', '.join(values)}) VALUES ({places})", (*values.values(),)
            )
        return record

    def tasks(self, task_ids: Sequence[str]) -> dict[str, Snapshot]:
        found = {}
        for task_id in task_ids:
            row = self._file.one(
                f"SELECT {', '.join(FIELDS)} FROM tasks WHERE task_id = ?", task_id
            )
            if row:
                pages = "SELECT number, status FROM pages WHERE task_id = ? AND status IS NOT NULL"
                settled = dict(self._file.all(pages, task_id))
                found[task_id] = snapshot_of(dict(zip(FIELDS, row, strict=True)), settled)
        return found

    def tasks_of(self, owner: str, limit: int) -> list[Snapshot]:
        query = "SELECT task_id FROM tasks WHERE owner = ? ORDER BY seq DESC LIMIT ?"
        return list(self.tasks(self._file.column(query, owner, limit)).values())

    def finish(self, task_id: str, state: State, error: str | None = None) -> bool:
        with self._file.write() as rows:
            done = rows.execute(
                "UPDATE tasks SET state = ?, error = ?, finished_s = ? "
                f"WHERE task_id = ? AND {UNFINISHED} RETURNING webhook",
                (state, error, time.time(), task_id),
            ).fetchone()
            if done and done[0]:
                rows.execute(
                    "INSERT OR IGNORE INTO webhooks (task_id, due_s) VALUES (?, 0)", (task_id,)
                )
            return done is not None

    def delete(self, task_id: str) -> None:
        with self._file.write() as rows:
            rows.execute(WEIGH, {"task_id": task_id, "bytes": 0})
            for table in ("tasks", "pages", "webhooks"):
                rows.execute(f"DELETE FROM {table} WHERE task_id = ?", (task_id,))

    def weigh(self, task_id: str, num_bytes: int) -> None:
        with self._file.write() as rows:
            rows.execute(WEIGH, {"task_id": task_id, "bytes": num_bytes})
            rows.execute(
                "UPDATE tasks SET record = json_set(record, '$.num_bytes', ?) WHERE task_id = ?",
                (num_bytes, task_id),
            )

    def ahead(self, task_id: str) -> int:
        row = self._file.one(
            "SELECT count(*) FROM tasks AS other JOIN tasks AS mine ON mine.task_id = ? "
            "WHERE other.state = 'PENDING' AND other.lane = mine.lane AND other.seq < mine.seq",
            task_id,
        )
        return int(row[0])

    def pending(self) -> Mapping[str, int]:
        found = dict(
            self._file.all("SELECT lane, count(*) FROM tasks WHERE state = 'PENDING' GROUP BY lane")
        )
        return {"short": 0, "long": 0, **found}

    def unfinished(self) -> list[str]:
        return self._file.column(f"SELECT task_id FROM tasks WHERE {UNFINISHED} ORDER BY seq")

    def expired(self, now_s: float) -> list[str]:
        return self._file.column("SELECT task_id FROM tasks WHERE expires_s < ?", now_s)

    def progress(self, task_ids: Iterable[str]) -> dict[str, TaskProgress]:
        found = {}
        for task_id in task_ids:
            row = self._file.one(
                "SELECT state, pages - missing FROM tasks WHERE task_id = ?", task_id
            )
            if row:
                found[task_id] = TaskProgress(row[0], row[1])
        return found

    def wait_for_change(self, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while True:
            # changes when another connection has written
            version = self._file.one("PRAGMA data_version")[0]
            if version != getattr(self._local, "version", None) or time.monotonic() > deadline_s:
                self._local.version = version
                return
            time.sleep(LOOK_S)

    def unsent(self) -> list[str]:
        query = f"SELECT task_id FROM tasks WHERE {UNFINISHED} AND sent < pages ORDER BY seq"
        return self._file.column(query)

    def take_unsent(self, task_id: str, count: int) -> int | None:
        with self._file.write() as rows:
            first = rows.execute(
                f"SELECT sent FROM tasks WHERE task_id = ? AND {UNFINISHED} AND sent < pages",
                (task_id,),
            ).fetchone()
            rows.execute(
                "UPDATE tasks SET sent = min(sent + ?, pages) WHERE task_id = ?", (count, task_id)
            )
            return first[0] if first else None

    def take_page(self, task_id: str, number: int, worker_id: str) -> Suspicion | None:  # noqa: ARG002
        # the worker is not recorded: the embedded queue itself returns what a lost worker had taken
        row = self._file.one(
            "SELECT state, status, strikes, together, reason FROM tasks LEFT JOIN pages "
            "ON pages.task_id = tasks.task_id AND number = ? WHERE tasks.task_id = ?",
            number,
            task_id,
        )
        if row is None or not is_open(row[0], row[1]):
            return None
        return Suspicion(row[2] or 0, row[3] or 0, row[4] or "")

    def begin_page(self, task_id: str, number: int, worker_id: str) -> bool:
        with self._file.write() as rows:
            if not _open_page(rows, task_id, number):
                return False
            rows.execute(
                "UPDATE tasks SET state = 'STARTED', started_s = ? "
                "WHERE task_id = ? AND state = 'PENDING'",
                (time.time(), task_id),
            )
            rows.execute(
                "INSERT INTO pages (task_id, number, reader) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET reader = excluded.reader, live = ''",
                (task_id, number, worker_id),
            )
            return True

    def settle_page(
        self, task_id: str, number: int, status: str, counts: Sequence[tuple[str, float]] = ()
    ) -> int | None:
        with self._file.write() as rows:
            if not _open_page(rows, task_id, number):
                return None
            rows.execute(
                "INSERT INTO pages (task_id, number, status) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET status = excluded.status, live = '', reader = NULL",
                (task_id, number, status),
            )
            rows.executemany(COUNT, counts)
            missing = rows.execute(
                "UPDATE tasks SET missing = missing - 1 WHERE task_id = ? RETURNING missing",
                (task_id,),
            ).fetchone()
            return int(missing[0])

    def release(self, worker_id: str, reason: str | None) -> list[tuple[str, int]]:
        with self._file.write() as rows:
            pages = rows.execute(
                "SELECT task_id, number FROM pages WHERE reader = ? AND status IS NULL",
                (worker_id,),
            ).fetchall()
            rows.execute(
                "UPDATE pages SET strikes = strikes + ?, together = iif(?, ?, together), "
                "reason = ifnull(?, reason) WHERE reader = ? AND status IS NULL",
                (reason is not None, reason is not None, len(pages), reason, worker_id),
            )
            rows.execute("UPDATE pages SET reader = NULL WHERE reader = ?", (worker_id,))
        return pages

    def readers(self) -> set[str]:
        return set(self._file.column("SELECT DISTINCT reader FROM pages WHERE reader IS NOT NULL"))

    def write_live(self, task_id: str, number: int, text: str) -> None:
        live = "UPDATE pages SET live = ? WHERE task_id = ? AND number = ? AND status IS NULL"
        self._file.run(live, text, task_id, number)

    def read_live(self, task_id: str, number: int) -> str:
        row = self._file.one(
            "SELECT live FROM pages WHERE task_id = ? AND number = ?", task_id, number
        )
        return str(row[0]) if row else ""

    def take_webhook(self, now_s: float, again_s: float) -> tuple[str, int] | None:
        due = "SELECT task_id FROM webhooks WHERE due_s <= ? ORDER BY due_s LIMIT 1"
        if self._file.one(due, now_s) is None:
            return None
        with self._file.write() as rows:
            taken: tuple[str, int] | None = rows.execute(
                f"UPDATE webhooks SET due_s = ?, tries = tries + 1 WHERE task_id = ({due}) "
                "RETURNING task_id, tries",
                (again_s, now_s),
            ).fetchone()
            return taken

    def put_webhook(self, task_id: str, due_s: float | None) -> None:
        if due_s is None:
            self._file.run("DELETE FROM webhooks WHERE task_id = ?", task_id)
        else:
            self._file.run("UPDATE webhooks SET due_s = ? WHERE task_id = ?", due_s, task_id)

    def beat(self, worker_id: str, info: Mapping[str, Any]) -> None:
        with self._file.write() as rows:
            rows.execute(
                "INSERT OR REPLACE INTO workers VALUES (?, ?, ?)",
                (worker_id, time.time(), json.dumps(dict(info))),
            )
            rows.execute("DELETE FROM workers WHERE beat_s < ?", (time.time() - WORKER_TTL_S,))

    def _beats(self) -> Iterable[tuple[str, str]]:
        oldest_s = time.time() - WORKER_TTL_S
        return self._file.all("SELECT worker_id, info FROM workers WHERE beat_s >= ?", oldest_s)

    def forget_worker(self, worker_id: str) -> None:
        self._file.run("DELETE FROM workers WHERE worker_id = ?", worker_id)

    def count(self, amounts: Sequence[tuple[str, float]]) -> None:
        with self._file.write() as rows:
            rows.executemany(COUNT, amounts)

    def counters(self) -> dict[str, float]:
        return dict(self._file.all("SELECT name, value FROM counters"))

    def once(self, name: str, seconds: float) -> bool:
        now_s = time.time()
        turn = (
            "INSERT INTO turns VALUES (?, ?) ON CONFLICT DO UPDATE "
            "SET until_s = excluded.until_s WHERE until_s <= ?"
        )
        return self._file.run(turn, name, now_s + seconds, now_s) == 1

    def close(self) -> None:
        self._file.close()


def _open_page(rows: sqlite3.Connection, task_id: str, number: int) -> bool:
    row = rows.execute(
        "SELECT state, status FROM tasks LEFT JOIN pages "
        "ON pages.task_id = tasks.task_id AND number = ? WHERE tasks.task_id = ?",
        (number, task_id),
    ).fetchone()
    return row is not None and is_open(*row)


def _keep_bytes(rows: sqlite3.Connection, record: TaskRecord, settings: ServiceSettings) -> None:
    of_all, of_client = rows.execute(
        "SELECT coalesce(sum(bytes), 0), coalesce(sum(bytes) FILTER (WHERE client = ?), 0) "
        "FROM kept",
        (record.client,),
    ).fetchone()
    if of_client + record.num_bytes > settings.max_client_bytes:
        raise TooManyBytesError
    if of_all + record.num_bytes > settings.max_data_bytes:
        raise NoBytesLeftError
    rows.execute(
        "INSERT INTO kept VALUES (?, ?) ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes",
        (record.client, record.num_bytes),
    )
