"""Task states in Redis, for several machines.

task:ID            hash: record, lane, pages, missing, sent, state, started_s, finished_s, error
task:ID:settled    hash: page number -> status
task:ID:reader     hash: page number -> the worker that has it in hand
task:ID:suspected  hash: page number -> strikes, together, reason (JSON)
task:ID:live       hash: page number -> text so far
waiting:LANE       sorted set of PENDING tasks by order of arrival
unfinished, expiry sorted sets of tasks by arrival and by end of life
unsent             sorted set of tasks with pages that were never sent to the queue
client:C           set of a client's unfinished tasks
owner:O            sorted set of an owner's tasks by arrival
key:O:K            a task by idempotency key
hand:W, readers    sets: the pages (ID:NUMBER) a worker has in hand; workers that have some
webhooks           sorted set of tasks by when their webhook is due; webhooks:tries hash
changed            channel on which a task's changes are told
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deepocr.errors import DeepOCRError
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
from deepocr.service.state.store import (
    ANSWER_S,
    UNLIMITED,
    WORKER_TTL_S,
    Store,
    StoreUnavailableError,
    is_open,
    snapshot_of,
)

PREFIX = "deepocr:2:"

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
local of_client = tonumber(redis.call('HGET', p .. 'kept', client) or 0)
local of_all = tonumber(redis.call('GET', p .. 'kept:all') or 0)
if of_client + ARGV[12] > tonumber(ARGV[13]) then return 'CLIENT BYTES' end
if of_all + ARGV[12] > tonumber(ARGV[14]) then return 'BYTES' end
redis.call('HINCRBY', p .. 'kept', client, ARGV[12])
redis.call('INCRBY', p .. 'kept:all', ARGV[12])
local seq = redis.call('INCR', p .. 'seq')
redis.call('HSET', p .. 'task:' .. id, 'record', ARGV[7], 'lane', ARGV[8], 'state', 'PENDING',
  'client', client, 'owner', owner, 'key', key, 'pages', ARGV[10],
  'missing', ARGV[10], 'sent', 0, 'webhook', ARGV[11], 'bytes', ARGV[12])
redis.call('SADD', p .. 'client:' .. client, id)
for _, set in ipairs({'unfinished', 'unsent', 'waiting:' .. ARGV[8], 'owner:' .. owner}) do
  redis.call('ZADD', p .. set, seq, id)
end
redis.call('ZADD', p .. 'expiry', ARGV[9], id)
if key ~= '' then redis.call('SET', p .. 'key:' .. owner .. ':' .. key, id) end
return 'NEW'
"""

_REFUSALS: Mapping[str, type[DeepOCRError]] = {
    "CLIENT": TooManyTasksError,
    "FULL": QueueFullError,
    "CLIENT BYTES": TooManyBytesError,
    "BYTES": NoBytesLeftError,
}

_OPEN_TASK = """
local p, id, number = KEYS[1], ARGV[1], ARGV[2]
local task = p .. 'task:' .. id
local state = redis.call('HGET', task, 'state')
if state ~= 'PENDING' and state ~= 'STARTED' then return nil end
"""

_OPEN_PAGE = (
    _OPEN_TASK
    + """
if redis.call('HEXISTS', task .. ':settled', number) == 1 then return nil end
"""
)

_TAKE_UNSENT = (
    _OPEN_TASK
    + """
local sent, pages = tonumber(redis.call('HGET', task, 'sent')), redis.call('HGET', task, 'pages')
if sent + ARGV[2] >= tonumber(pages) then redis.call('ZREM', p .. 'unsent', id) end
if sent >= tonumber(pages) then return nil end
redis.call('HINCRBY', task, 'sent', ARGV[2])
return sent
"""
)

_BEGIN = (
    _OPEN_PAGE
    + """
if state == 'PENDING' then
  redis.call('HSET', task, 'state', 'STARTED', 'started_s', ARGV[4])
  redis.call('ZREM', p .. 'waiting:' .. redis.call('HGET', task, 'lane'), id)
  redis.call('PUBLISH', p .. 'changed', id)
end
redis.call('HDEL', task .. ':live', number)
redis.call('HSET', task .. ':reader', number, ARGV[3])
redis.call('SADD', p .. 'hand:' .. ARGV[3], id .. ':' .. number)
redis.call('SADD', p .. 'readers', ARGV[3])
return 1
"""
)

_SETTLE = (
    _OPEN_PAGE
    + """
redis.call('HSET', task .. ':settled', number, ARGV[3])
redis.call('HDEL', task .. ':live', number)
local reader = redis.call('HGET', task .. ':reader', number)
if reader then
  redis.call('HDEL', task .. ':reader', number)
  redis.call('SREM', p .. 'hand:' .. reader, id .. ':' .. number)
end
for i = 4, #ARGV, 2 do
  redis.call('HINCRBYFLOAT', p .. 'counters', ARGV[i], ARGV[i + 1])
end
redis.call('PUBLISH', p .. 'changed', id)
return redis.call('HINCRBY', task, 'missing', -1)
"""
)

_RELEASE = """
local p, worker, reason = KEYS[1], ARGV[1], ARGV[2]
local held = {}
for _, page in ipairs(redis.call('SMEMBERS', p .. 'hand:' .. worker)) do
  local id, number = string.match(page, '^(.*):(%d+)$')
  if redis.call('HGET', p .. 'task:' .. id .. ':reader', number) == worker then
    redis.call('HDEL', p .. 'task:' .. id .. ':reader', number)
    held[#held + 1] = {id, number}
  end
end
for _, page in ipairs(held) do
  local suspected = p .. 'task:' .. page[1] .. ':suspected'
  if reason ~= '' then
    local known = redis.call('HGET', suspected, page[2])
    local strikes = known and cjson.decode(known)[1] or 0
    redis.call('HSET', suspected, page[2], cjson.encode({strikes + 1, #held, reason}))
  end
end
redis.call('DEL', p .. 'hand:' .. worker)
redis.call('SREM', p .. 'readers', worker)
return held
"""

_FINISH = (
    _OPEN_TASK
    + """
redis.call('HSET', task, 'state', ARGV[2], 'finished_s', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', task, 'error', ARGV[4]) end
redis.call('ZREM', p .. 'waiting:' .. redis.call('HGET', task, 'lane'), id)
redis.call('ZREM', p .. 'unfinished', id)
redis.call('ZREM', p .. 'unsent', id)
redis.call('SREM', p .. 'client:' .. redis.call('HGET', task, 'client'), id)
redis.call('DEL', task .. ':live', task .. ':reader')
if redis.call('HGET', task, 'webhook') == '1' then redis.call('ZADD', p .. 'webhooks', 0, id) end
redis.call('PUBLISH', p .. 'changed', id)
return 1
"""
)

_WEIGH = """
local p, task = KEYS[1], KEYS[1] .. 'task:' .. ARGV[1]
local before = redis.call('HGET', task, 'bytes')
if not before then return end
redis.call('HSET', task, 'bytes', ARGV[2])
redis.call('INCRBY', p .. 'kept:all', ARGV[2] - before)
redis.call('HINCRBY', p .. 'kept', redis.call('HGET', task, 'client'), ARGV[2] - before)
"""

_DELETE = """
local p, id = KEYS[1], ARGV[1]
local task = p .. 'task:' .. id
local lane = redis.call('HGET', task, 'lane')
if lane then
  redis.call('ZREM', p .. 'waiting:' .. lane, id)
  local client, bytes = redis.call('HGET', task, 'client'), redis.call('HGET', task, 'bytes') or 0
  redis.call('SREM', p .. 'client:' .. client, id)
  redis.call('DECRBY', p .. 'kept:all', bytes)
  if redis.call('HINCRBY', p .. 'kept', client, 0 - bytes) <= 0 then
    redis.call('HDEL', p .. 'kept', client)
  end
  local owner, key = redis.call('HGET', task, 'owner'), redis.call('HGET', task, 'key')
  redis.call('ZREM', p .. 'owner:' .. owner, id)
  if key ~= '' then redis.call('DEL', p .. 'key:' .. owner .. ':' .. key) end
end
for _, set in ipairs({'unfinished', 'unsent', 'expiry', 'webhooks'}) do
  redis.call('ZREM', p .. set, id)
end
redis.call('HDEL', p .. 'webhooks:tries', id)
for _, part in ipairs({'', ':settled', ':reader', ':suspected', ':live'}) do
  redis.call('DEL', task .. part)
end
redis.call('PUBLISH', p .. 'changed', id)
"""

_TAKE_WEBHOOK = """
local p = KEYS[1]
local id = redis.call('ZRANGEBYSCORE', p .. 'webhooks', '-inf', ARGV[1], 'LIMIT', 0, 1)[1]
if not id then return nil end
redis.call('ZADD', p .. 'webhooks', ARGV[2], id)
return {id, redis.call('HINCRBY', p .. 'webhooks:tries', id, 1)}
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


class RedisStore(Store):
    """`url` as redis-py takes it: redis://[:password@]host:port/db."""

    def __init__(self, url: str) -> None:
        self._redis: Any = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S / 2,
            # once more at once: the first call after a restart of Redis finds a closed connection
            retry=Retry(NoBackoff(), 1),
            retry_on_error=[redis.ConnectionError],
        )
        self._local = threading.local()
        self._scripts = {
            name: self._redis.register_script(text)
            for name, text in {
                "create": _CREATE,
                "take_unsent": _TAKE_UNSENT,
                "begin": _BEGIN,
                "settle": _SETTLE,
                "release": _RELEASE,
                "finish": _FINISH,
                "weigh": _WEIGH,
                "delete": _DELETE,
                "take_webhook": _TAKE_WEBHOOK,
            }.items()
        }

    def _run(self, name: str, *arguments: str | float) -> Any:
        return self._scripts[name](keys=[PREFIX], args=arguments)

    @_told
    def create(
        self,
        record: TaskRecord,
        *,
        max_client_tasks: int,
        max_tasks: int,
        ttl_s: float,
        max_client_bytes: int = UNLIMITED,
        max_bytes: int = UNLIMITED,
    ) -> TaskRecord:
        answer = self._run(
            "create",
            record.task_id,
            record.owner,
            record.client,
            record.idempotency_key or "",
            max_client_tasks,
            max_tasks,
            record.model_dump_json(),
            record.lane,
            record.created_s + ttl_s,
            len(record.numbers),
            int(record.webhook is not None),
            record.num_bytes,
            max_client_bytes,
            max_bytes,
        )
        if answer in _REFUSALS:
            raise _REFUSALS[answer]
        return record if answer == "NEW" else TaskRecord.model_validate_json(answer)

    @_told
    def tasks(self, task_ids: Sequence[str]) -> dict[str, Snapshot]:
        pipe = self._redis.pipeline(transaction=False)
        for task_id in task_ids:
            pipe.hgetall(_task(task_id))
            pipe.hgetall(f"{_task(task_id)}:settled")
        answers = iter(pipe.execute())
        found = {}
        for task_id in task_ids:
            fields, settled = next(answers), next(answers)
            if "record" in fields:
                found[task_id] = snapshot_of(fields, settled)
        return found

    @_told
    def tasks_of(self, owner: str, limit: int) -> list[Snapshot]:
        task_ids = self._redis.zrevrange(f"{PREFIX}owner:{owner}", 0, limit - 1)
        return list(self.tasks(task_ids).values())

    @_told
    def finish(self, task_id: str, state: State, error: str | None = None) -> bool:
        return bool(self._run("finish", task_id, state, time.time(), error or ""))

    @_told
    def delete(self, task_id: str) -> None:
        self._run("delete", task_id)

    @_told
    def weigh(self, task_id: str, num_bytes: int) -> None:
        self._run("weigh", task_id, num_bytes)

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
    def expired(self, now_s: float) -> list[str]:
        return list(self._redis.zrangebyscore(f"{PREFIX}expiry", 0, now_s))

    @_told
    def progress(self, task_ids: Iterable[str]) -> dict[str, TaskProgress]:
        wanted = list(task_ids)
        pipe = self._redis.pipeline(transaction=False)
        for task_id in wanted:
            pipe.hmget(_task(task_id), "state", "pages", "missing")
        answers = zip(wanted, pipe.execute(), strict=True)
        return {
            task_id: TaskProgress(state, int(pages) - int(missing))
            for task_id, (state, pages, missing) in answers
            if state
        }

    @_told
    def wait_for_change(self, timeout_s: float) -> None:
        listener = getattr(self._local, "listener", None)
        if listener is None:
            listener = self._redis.pubsub(ignore_subscribe_messages=True)
            listener.subscribe(f"{PREFIX}changed")
            self._local.listener = listener
            return
        try:
            deadline_s = time.monotonic() + timeout_s
            while (left_s := deadline_s - time.monotonic()) > 0:
                if listener.get_message(timeout=left_s):
                    break
            while listener.get_message(timeout=0):
                pass
        except redis.RedisError:
            self._local.listener = None
            listener.close()
            raise

    @_told
    def unsent(self) -> list[str]:
        return list(self._redis.zrange(f"{PREFIX}unsent", 0, -1))

    @_told
    def take_unsent(self, task_id: str, count: int) -> int | None:
        first: int | None = self._run("take_unsent", task_id, count)
        return first

    @_told
    def look_at_page(self, task_id: str, number: int) -> Suspicion | None:
        pipe = self._redis.pipeline(transaction=False)
        pipe.hget(_task(task_id), "state")
        pipe.hget(f"{_task(task_id)}:settled", number)
        pipe.hget(f"{_task(task_id)}:suspected", number)
        state, status, suspected = pipe.execute()
        if not is_open(state, status):
            return None
        return Suspicion(*json.loads(suspected)) if suspected else Suspicion()

    @_told
    def begin_page(self, task_id: str, number: int, worker_id: str) -> bool:
        return self._run("begin", task_id, number, worker_id, time.time()) is not None

    @_told
    def settle_page(
        self, task_id: str, number: int, status: str, counts: Sequence[tuple[str, float]] = ()
    ) -> int | None:
        amounts = [part for count in counts for part in count]
        missing: int | None = self._run("settle", task_id, number, status, *amounts)
        return missing

    @_told
    def release(self, worker_id: str, reason: str | None) -> list[tuple[str, int]]:
        held = self._run("release", worker_id, reason or "")
        return [(task_id, int(number)) for task_id, number in held]

    @_told
    def readers(self) -> set[str]:
        return set(self._redis.smembers(f"{PREFIX}readers"))

    @_told
    def write_live(self, task_id: str, number: int, text: str) -> None:
        self._redis.hset(f"{_task(task_id)}:live", number, text)
        # a page may have settled in between; nobody would remove what came too late
        self._redis.expire(f"{_task(task_id)}:live", 3600)

    @_told
    def read_live(self, task_id: str, number: int) -> str:
        return self._redis.hget(f"{_task(task_id)}:live", number) or ""

    @_told
    def take_webhook(self, now_s: float, again_s: float) -> tuple[str, int] | None:
        taken = self._run("take_webhook", now_s, again_s)
        return (taken[0], taken[1]) if taken else None

    @_told
    def put_webhook(self, task_id: str, due_s: float | None) -> None:
        if due_s is None:
            self._redis.zrem(f"{PREFIX}webhooks", task_id)
            self._redis.hdel(f"{PREFIX}webhooks:tries", task_id)
        else:
            self._redis.zadd(f"{PREFIX}webhooks", {task_id: due_s}, xx=True)

    @_told
    def beat(self, worker_id: str, info: Mapping[str, Any]) -> None:
        self._redis.set(f"{PREFIX}worker:{worker_id}", json.dumps(dict(info)), ex=int(WORKER_TTL_S))
        self._redis.zadd(f"{PREFIX}workers", {worker_id: time.time()})
        self._redis.zremrangebyscore(f"{PREFIX}workers", 0, time.time() - WORKER_TTL_S)

    @_told
    def _beats(self) -> Iterable[tuple[str, str]]:
        ids = self._redis.zrange(f"{PREFIX}workers", 0, -1)
        keys = [f"{PREFIX}worker:{worker_id}" for worker_id in ids]
        infos = self._redis.mget(keys) if keys else []
        return [pair for pair in zip(ids, infos, strict=True) if pair[1] is not None]

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


def _task(task_id: str) -> str:
    return f"{PREFIX}task:{task_id}"
