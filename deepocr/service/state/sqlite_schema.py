"""The tables of the embedded store, and statements that several of its methods use."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT UNIQUE NOT NULL,
    client TEXT NOT NULL,
    owner TEXT NOT NULL,
    idempotency_key TEXT,
    lane TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'PENDING',
    pages INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0,
    started_s REAL,
    finished_s REAL,
    expires_s REAL NOT NULL,
    error TEXT,
    webhook INTEGER NOT NULL,
    record TEXT NOT NULL,
    UNIQUE (owner, idempotency_key)
);
CREATE INDEX IF NOT EXISTS tasks_by_state ON tasks (state, lane, seq);
CREATE INDEX IF NOT EXISTS tasks_by_client ON tasks (client, state);
CREATE TABLE IF NOT EXISTS pages (
    task_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    status TEXT,
    live TEXT NOT NULL DEFAULT '',
    reader TEXT,
    strikes INTEGER NOT NULL DEFAULT 0,
    together INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (task_id, number)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pages_by_reader ON pages (reader) WHERE reader IS NOT NULL;
CREATE TABLE IF NOT EXISTS webhooks (
    task_id TEXT PRIMARY KEY, due_s REAL NOT NULL, tries INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS kept (client TEXT PRIMARY KEY, bytes INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS workers (worker_id TEXT PRIMARY KEY, beat_s REAL, info TEXT);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value REAL NOT NULL);
CREATE TABLE IF NOT EXISTS turns (name TEXT PRIMARY KEY, until_s REAL NOT NULL);
"""

COUNT = """
INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value
"""
WEIGH = """
UPDATE kept SET bytes = bytes + :bytes - (
    SELECT coalesce(json_extract(record, '$.num_bytes'), 0) FROM tasks WHERE task_id = :task_id
) WHERE client = (SELECT client FROM tasks WHERE task_id = :task_id)
"""
UNFINISHED = "state IN ('PENDING', 'STARTED')"
FIELDS = ("task_id", "record", "state", "started_s", "finished_s", "error")
