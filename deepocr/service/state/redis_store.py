"""Task states in Redis, for several machines.

task:ID            hash: record, lane, state, started_s, finished_s, error
task:ID:attempts   hash: page number -> readings begun
task:ID:settled    hash: page number -> status
task:ID:live       hash: page number -> text so far
waiting:LANE       sorted set of PENDING tasks by order of arrival
unfinished, expiry sorted sets of tasks by arrival and by end of life
client:C           set of a client's unfinished tasks
owner:O            sorted set of an owner's tasks by arrival
key:O:K            a task by idempotency key
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from deepocr.service.state.records import (
    QueueFullError,
    Snapshot,
    State,
    TaskProgress,
    TaskRecord,
    TooManyTasksError,
)
from deepocr.service.state.store import WORKER_TTL_S, StoreUnavailableError

PREFIX = "deepocr:"
SOCKET_TIMEOUT_S = 5.0
PATIENT_TRIES = 120
"""With waits of up to 2 s: a worker holds on to a page's result for about four minutes."""

# KEYS[1] the prefix; ARGV as named. Every script checks and changes in one step.
_CREATE = """
local p, id, owner, client, key = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if key ~= '' then
  local earlier = redis.call('GET', p .. 'key:' .. owner .. ':' .. key)
  if earlier then
    local record = redis.call('HGET', p .. 'task:' .. earlier, 'record')
    if record then return record end
  end
end
if redis.call('SCARD', p .. 'client:' .. client) >= tonumber(ARGV[5]) then return 'CLIENT' end
if redis.call('ZCARD', p .. 'unfinished') >= tonumber(ARGV[6]) then return 'FULL' end
local seq = redis.call('INCR', p .. 'seq')
redis.call('HSET', p .. 'task:' .. id, 'record', ARGV[7], 'lane', ARGV[8], 'state', 'PENDING',
  'client', client, 'owner', owner, 'key', key)
redis.call('SADD', p .. 'client:' .. client, id)
redis.call('ZADD', p .. 'unfinished', seq, id)
redis.call('ZADD', p .. 'waiting:' .. ARGV[8], seq, id)
redis.call('ZADD', p .. 'owner:' .. owner, seq, id)
redis.call('ZADD', p .. 'expiry', ARGV[9], id)
if key ~= '' then redis.call('SET', p .. 'key:' .. owner .. ':' .. key, id) end
return 'NEW'
"""

_OPEN = """
local p, id, number = KEYS[1], ARGV[1], ARGV[2]
local task = p .. 'task:' .. id
local state = redis.call('HGET', task, 'state')
if state ~= 'PENDING' and state ~= 'STARTED' then return 0 end
if redis.call('HEXISTS', task .. ':settled', number) == 1 then return 0 end
"""

_BEGIN = (
    _OPEN
    + """
if state == 'PENDING' then
  redis.call('HSET', task, 'state', 'STARTED', 'started_s', ARGV[3])
  redis.call('ZREM', p .. 'waiting:' .. redis.call('HGET', task, 'lane'), id)
end
redis.call('HDEL', task .. ':live', number)
return redis.call('HINCRBY', task .. ':attempts', number, 1)
"""
)

_SETTLE = (
    _OPEN
    + """
redis.call('HSET', task .. ':settled', number, ARGV[3])
redis.call('HDEL', task .. ':live', number)
for i = 4, #ARGV, 2 do
  redis.call('HINCRBYFLOAT', p .. 'counters', ARGV[i], ARGV[i + 1])
end
return 1
"""
)

_FINISH = """
local p, id = KEYS[1], ARGV[1]
local task = p .. 'task:' .. id
local state = redis.call('HGET', task, 'state')
if state ~= 'PENDING' and state ~= 'STARTED' then return 0 end
redis.call('HSET', task, 'state', ARGV[2], 'finished_s', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', task, 'error', ARGV[4]) end
redis.call('ZREM', p .. 'waiting:' .. redis.call('HGET', task, 'lane'), id)
redis.call('ZREM', p .. 'unfinished', id)
redis.call('SREM', p .. 'client:' .. redis.call('HGET', task, 'client'), id)
redis.call('DEL', task .. ':live')
return 1
"""

_DELETE = """
local p, id = KEYS[1], ARGV[1]
local task = p .. 'task:' .. id
local lane = redis.call('HGET', task, 'lane')
if lane then
  redis.call('ZREM', p .. 'waiting:' .. lane, id)
  redis.call('SREM', p .. 'client:' .. redis.call('HGET', task, 'client'), id)
  local owner, key = redis.call('HGET', task, 'owner'), redis.call('HGET', task, 'key')
  redis.call('ZREM', p .. 'owner:' .. owner, id)
  if key ~= '' then redis.call('DEL', p .. 'key:' .. owner .. ':' .. key) end
end
redis.call('ZREM', p .. 'unfinished', id)
redis.call('ZREM', p .. 'expiry', id)
redis.call('DEL', task, task .. ':attempts', task .. ':settled', task .. ':live')
return 1
"""

P = ParamSpec("P")
R = TypeVar("R")


def _told(method: Callable[P, R]) -> Callable[P, R]:
    """Connection troubles as StoreUnavailableError."""

    @wraps(method)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except (
            redis.ConnectionError,
            redis.TimeoutError,
            redis.exceptions.BusyLoadingError,
            redis.exceptions.ReadOnlyError,
            redis.exceptions.OutOfMemoryError,
        ) as error:
            raise StoreUnavailableError(f"Redis cannot be used: {error}") from error

    return wrapped


class RedisStore:
    """`url` as redis-py takes it: redis://[:password@]host:port/db."""

    def __init__(self, url: str, *, patient: bool = False) -> None:
        backoff = ExponentialBackoff(cap=2, base=0.05) if patient else NoBackoff()
        self._redis: Any = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(backoff, PATIENT_TRIES if patient else 1),
            retry_on_error=[
                redis.ConnectionError,
                redis.TimeoutError,
                redis.exceptions.BusyLoadingError,
            ],
        )
        script = self._redis.register_script
        self._create, self._begin = script(_CREATE), script(_BEGIN)
        self._settle, self._finish, self._delete = script(_SETTLE), script(_FINISH), script(_DELETE)

    @_told
    def create(
        self, record: TaskRecord, *, max_client_tasks: int, max_tasks: int, ttl_s: float
    ) -> TaskRecord:
        answer = self._create(
            keys=[PREFIX],
            args=[
                record.task_id,
                record.owner,
                record.client,
                record.idempotency_key or "",
                max_client_tasks,
                max_tasks,
                record.model_dump_json(),
                record.lane,
                record.created_s + ttl_s,
            ],
        )
        if answer == "CLIENT":
            raise TooManyTasksError
        if answer == "FULL":
            raise QueueFullError
        return record if answer == "NEW" else TaskRecord.model_validate_json(answer)

    @_told
    def task(self, task_id: str) -> Snapshot | None:
        return self._snapshots([task_id]).get(task_id)

    @_told
    def tasks_of(self, owner: str, limit: int) -> list[Snapshot]:
        task_ids = self._redis.zrevrange(f"{PREFIX}owner:{owner}", 0, limit - 1)
        return list(self._snapshots(task_ids).values())

    @_told
    def begin_page(self, task_id: str, number: int) -> int:
        return int(self._begin(keys=[PREFIX], args=[task_id, number, time.time()]))

    @_told
    def settle_page(
        self, task_id: str, number: int, status: str, counts: Sequence[tuple[str, float]] = ()
    ) -> bool:
        amounts = [part for count in counts for part in count]
        return bool(self._settle(keys=[PREFIX], args=[task_id, number, status, *amounts]))

    @_told
    def finish(self, task_id: str, state: State, error: str | None = None) -> bool:
        return bool(self._finish(keys=[PREFIX], args=[task_id, state, time.time(), error or ""]))

    @_told
    def ahead(self, task_id: str) -> int:
        lane = self._redis.hget(_task(task_id), "lane")
        rank = self._redis.zrank(f"{PREFIX}waiting:{lane}", task_id) if lane else None
        return int(rank or 0)

    @_told
    def pending(self) -> Mapping[str, int]:
        return {lane: self._redis.zcard(f"{PREFIX}waiting:{lane}") for lane in ("short", "long")}

    @_told
    def unfinished(self) -> list[str]:
        return list(self._redis.zrange(f"{PREFIX}unfinished", 0, -1))

    @_told
    def progress(self, task_ids: Iterable[str]) -> dict[str, TaskProgress]:
        wanted = list(task_ids)
        pipe = self._redis.pipeline(transaction=False)
        for task_id in wanted:
            pipe.hget(_task(task_id), "state")
            pipe.hlen(f"{_task(task_id)}:settled")
        answers = iter(pipe.execute())
        found = {}
        for task_id in wanted:
            state, done = next(answers), next(answers)
            if state:
                found[task_id] = TaskProgress(state, done)
        return found

    @_told
    def expired(self, now_s: float) -> list[str]:
        return list(self._redis.zrangebyscore(f"{PREFIX}expiry", 0, now_s))

    @_told
    def delete(self, task_id: str) -> None:
        self._delete(keys=[PREFIX], args=[task_id])

    @_told
    def write_live(self, task_id: str, number: int, text: str) -> None:
        self._redis.hset(f"{_task(task_id)}:live", number, text)
        # a page may have settled in between; nobody would remove what came too late
        self._redis.expire(f"{_task(task_id)}:live", 3600)

    @_told
    def read_live(self, task_id: str, number: int) -> str:
        return self._redis.hget(f"{_task(task_id)}:live", number) or ""

    @_told
    def beat(self, worker_id: str, info: Mapping[str, Any]) -> None:
        self._redis.set(f"{PREFIX}worker:{worker_id}", json.dumps(dict(info)), ex=int(WORKER_TTL_S))
        self._redis.zadd(f"{PREFIX}workers", {worker_id: time.time()})
        self._redis.zremrangebyscore(f"{PREFIX}workers", 0, time.time() - WORKER_TTL_S)

    @_told
    def workers(self) -> dict[str, dict[str, Any]]:
        ids = self._redis.zrange(f"{PREFIX}workers", 0, -1)
        infos = (
            self._redis.mget([f"{PREFIX}worker:{worker_id}" for worker_id in ids]) if ids else []
        )
        return {
            worker_id: json.loads(info)
            for worker_id, info in zip(ids, infos, strict=True)
            if info is not None
        }

    @_told
    def forget_worker(self, worker_id: str) -> None:
        self._redis.delete(f"{PREFIX}worker:{worker_id}")
        self._redis.zrem(f"{PREFIX}workers", worker_id)

    @_told
    def count(self, amounts: Sequence[tuple[str, float]]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for name, amount in amounts:
            pipe.hincrbyfloat(f"{PREFIX}counters", name, amount)
        pipe.execute()

    @_told
    def counters(self) -> dict[str, float]:
        found = self._redis.hgetall(f"{PREFIX}counters")
        return {name: float(value) for name, value in found.items()}

    @_told
    def once(self, name: str, seconds: float) -> bool:
        return bool(self._redis.set(f"{PREFIX}once:{name}", 1, nx=True, px=int(seconds * 1000)))

    def close(self) -> None:
        self._redis.close()

    def _snapshots(self, task_ids: Sequence[str]) -> dict[str, Snapshot]:
        pipe = self._redis.pipeline(transaction=False)
        for task_id in task_ids:
            pipe.hgetall(_task(task_id))
            pipe.hgetall(f"{_task(task_id)}:settled")
            pipe.hgetall(f"{_task(task_id)}:attempts")
        answers = iter(pipe.execute())
        found = {}
        for task_id in task_ids:
            fields, settled, attempts = next(answers), next(answers), next(answers)
            if "record" in fields:
                found[task_id] = _snapshot(fields, settled, attempts)
        return found


def _task(task_id: str) -> str:
    return f"{PREFIX}task:{task_id}"


def _snapshot(
    fields: Mapping[str, str], settled: Mapping[str, str], attempts: Mapping[str, str]
) -> Snapshot:
    started_s, finished_s = fields.get("started_s"), fields.get("finished_s")
    return Snapshot(
        record=TaskRecord.model_validate_json(fields["record"]),
        state=fields["state"],  # type: ignore[arg-type]
        started_s=float(started_s) if started_s else None,
        finished_s=float(finished_s) if finished_s else None,
        error=fields.get("error"),
        settled={int(number): status for number, status in settled.items()},
        attempts={int(number): int(count) for number, count in attempts.items()},
    )
