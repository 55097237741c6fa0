"""Task states in Redis, for several machines."""

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
from deepocr.service.state.redis_scripts import PREFIX, SCRIPTS
from deepocr.service.state.store import (
    ANSWER_S,
    WORKER_TTL_S,
    Store,
    StoreUnavailableError,
    snapshot_of,
)

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=Store)

_REFUSALS: Mapping[str, type[DeepOCRError]] = {
    "CLIENT": TooManyTasksError,
    "FULL": QueueFullError,
    "CLIENT BYTES": TooManyBytesError,
    "BYTES": NoBytesLeftError,
}

_TROUBLES = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
)


def _told(method: Callable[P, R]) -> Callable[P, R]:
    @wraps(method)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except _TROUBLES as error:
            raise StoreUnavailableError(f"Redis cannot be used: {error}") from error

    return wrapped


def _all_told(store: type[S]) -> type[S]:
    """Maps Redis errors of every method to StoreUnavailableError."""
    for name, method in [*vars(store).items()]:
        if callable(method) and not name.startswith("__"):
            setattr(store, name, _told(method))
    return store


@_all_told
class RedisStore(Store):
    """`url` as redis-py takes it: redis://[:password@]host:port/db."""

    def __init__(self, url: str) -> None:
        self._redis: Any = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S / 2,
            # retry once: the first call after a restart of Redis finds a closed connection
            retry=Retry(NoBackoff(), 1),
            retry_on_error=[redis.ConnectionError],
        )
        self._local = threading.local()
        self._scripts = {name: self._redis.register_script(text) for name, text in SCRIPTS.items()}

    def _run(self, name: str, *arguments: str | float) -> Any:
        return self._scripts[name](keys=[PREFIX], args=arguments)

    def create(self, record: TaskRecord, settings: ServiceSettings) -> TaskRecord:
        answer = self._run(
            "create",
            record.task_id,
            record.owner,
            record.client,
            record.idempotency_key or "",
            settings.max_client_tasks,
            settings.max_pending_tasks,
            record.model_dump_json(),
            record.lane,
            record.created_s + settings.result_ttl_s,
            len(record.numbers),
            int(record.webhook is not None),
            record.num_bytes,
            settings.max_client_bytes,
            settings.max_data_bytes,
        )
        if answer in _REFUSALS:
            raise _REFUSALS[answer]
        return record if answer == "NEW" else TaskRecord.model_validate_json(answer)

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

    def tasks_of(self, owner: str, limit: int) -> list[Snapshot]:
        task_ids = self._redis.zrevrange(f"{PREFIX}owner:{owner}", 0, limit - 1)
        return list(self.tasks(task_ids).values())

    def finish(self, task_id: str, state: State, error: str | None = None) -> bool:
        return bool(self._run("finish", task_id, state, time.time(), error or ""))

    def delete(self, task_id: str) -> None:
        self._run("delete", task_id)

    def weigh(self, task_id: str, num_bytes: int) -> None:
        self._run("weigh", task_id, num_bytes)

    def ahead(self, task_id: str) -> int:
        lane = self._redis.hget(_task(task_id), "lane")
        rank = self._redis.zrank(f"{PREFIX}waiting:{lane}", task_id) if lane else None
        return int(rank or 0)

    def pending(self) -> Mapping[str, int]:
        return {lane: self._redis.zcard(f"{PREFIX}waiting:{lane}") for lane in ("short", "long")}

    def unfinished(self) -> list[str]:
        return list(self._redis.zrange(f"{PREFIX}unfinished", 0, -1))

    def expired(self, now_s: float) -> list[str]:
        return list(self._redis.zrangebyscore(f"{PREFIX}expiry", 0, now_s))

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

    def unsent(self) -> list[str]:
        return list(self._redis.zrange(f"{PREFIX}unsent", 0, -1))

    def take_unsent(self, task_id: str, count: int) -> int | None:
        first: int | None = self._run("take_unsent", task_id, count)
        return first

    def take_page(self, task_id: str, number: int, worker_id: str) -> Suspicion | None:
        suspected = self._run("take_page", task_id, number, worker_id)
        if suspected is None:
            return None
        return Suspicion(*json.loads(suspected)) if suspected else Suspicion()

    def begin_page(self, task_id: str, number: int, worker_id: str) -> bool:
        return self._run("begin", task_id, number, worker_id, time.time()) is not None

    def settle_page(
        self, task_id: str, number: int, status: str, counts: Sequence[tuple[str, float]] = ()
    ) -> int | None:
        amounts = [part for count in counts for part in count]
        missing: int | None = self._run("settle", task_id, number, status, *amounts)
        return missing

    def release(self, worker_id: str, reason: str | None) -> list[tuple[str, int]]:
        held = self._run("release", worker_id, reason or "")
        return [(task_id, int(number)) for task_id, number in held]

    def readers(self) -> set[str]:
        return set(self._redis.smembers(f"{PREFIX}readers"))

    def write_live(self, task_id: str, number: int, text: str) -> None:
        self._redis.hset(f"{_task(task_id)}:live", number, text)
        # the page may have been settled in between; text that comes too late would never be removed
        self._redis.expire(f"{_task(task_id)}:live", 3600)

    def read_live(self, task_id: str, number: int) -> str:
        return self._redis.hget(f"{_task(task_id)}:live", number) or ""

    def take_webhook(self, now_s: float, again_s: float) -> tuple[str, int] | None:
        taken = self._run("take_webhook", now_s, again_s)
        return (taken[0], taken[1]) if taken else None

    def put_webhook(self, task_id: str, due_s: float | None) -> None:
        if due_s is None:
            self._redis.zrem(f"{PREFIX}webhooks", task_id)
            self._redis.hdel(f"{PREFIX}webhooks:tries", task_id)
        else:
            self._redis.zadd(f"{PREFIX}webhooks", {task_id: due_s}, xx=True)

    def beat(self, worker_id: str, info: Mapping[str, Any]) -> None:
        self._redis.set(f"{PREFIX}worker:{worker_id}", json.dumps(dict(info)), ex=int(WORKER_TTL_S))
        self._redis.zadd(f"{PREFIX}workers", {worker_id: time.time()})
        self._redis.zremrangebyscore(f"{PREFIX}workers", 0, time.time() - WORKER_TTL_S)

    def _beats(self) -> Iterable[tuple[str, str]]:
        ids = self._redis.zrange(f"{PREFIX}workers", 0, -1)
        keys = [f"{PREFIX}worker:{worker_id}" for worker_id in ids]
        infos = self._redis.mget(keys) if keys else []
        return [pair for pair in zip(ids, infos, strict=True) if pair[1] is not None]

    def forget_worker(self, worker_id: str) -> None:
        self._redis.delete(f"{PREFIX}worker:{worker_id}")
        self._redis.zrem(f"{PREFIX}workers", worker_id)

    def count(self, amounts: Sequence[tuple[str, float]]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for name, amount in amounts:
            pipe.hincrbyfloat(f"{PREFIX}counters", name, amount)
        pipe.execute()

    def counters(self) -> dict[str, float]:
        found = self._redis.hgetall(f"{PREFIX}counters")
        return {name: float(value) for name, value in found.items()}

    def once(self, name: str, seconds: float) -> bool:
        return bool(self._redis.set(f"{PREFIX}once:{name}", 1, nx=True, px=int(seconds * 1000)))

    def close(self) -> None:
        self._redis.close()


def _task(task_id: str) -> str:
    return f"{PREFIX}task:{task_id}"
