"""One contract, held by both stores."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepocr.service.settings import ServiceSettings
from deepocr.service.state.files import new_task_id
from deepocr.service.state.records import (
    NoBytesLeftError,
    QueueFullError,
    Suspicion,
    TaskProgress,
    TaskRecord,
    TooManyBytesError,
    TooManyTasksError,
)
from deepocr.service.state.redis_store import RedisStore
from deepocr.service.state.sqlite_store import SqliteStore
from deepocr.service.state.store import Store, StoreUnavailableError
from deepocr.types import Job
from tests.service.stack import Redis, free_port


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    redis = Redis(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis.url
    redis.stop()


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        found: Store = SqliteStore(tmp_path / "service.db")
    else:
        redis_store = RedisStore(request.getfixturevalue("redis_url"))
        redis_store._redis.flushdb()
        found = redis_store
    yield found
    found.close()


def record(pages: int = 1, **changes: object) -> TaskRecord:
    fields: dict[str, object] = {
        "task_id": new_task_id(),
        "client": "c",
        "owner": "o",
        "created_s": time.time(),
        "name": "n",
        "num_pages": pages,
        "numbers": tuple(range(1, pages + 1)),
        "job": Job(),
        "dpi": 144,
    }
    return TaskRecord.model_validate({**fields, **changes})


def create(store: Store, task: TaskRecord, client_tasks: int = 9, tasks: int = 9) -> TaskRecord:
    settings = ServiceSettings(
        max_client_tasks=client_tasks, max_pending_tasks=tasks, result_ttl_s=100
    )
    return store.create(task, settings)


def test_life_of_a_task(store: Store) -> None:
    task = create(store, record(2))
    task_id = task.task_id
    found = store.task(task_id)
    assert found is not None
    assert (found.record, found.state) == (task, "PENDING")
    assert store.take_page(task_id, 1, "w9") == Suspicion()
    assert store.begin_page(task_id, 1, "w")
    assert store.begin_page(task_id, 1, "w")
    assert store.settle_page(task_id, 1, "ok", [("pages:ok", 1), ("seconds", 0.25)]) == 1
    assert store.settle_page(task_id, 1, "failed", [("pages:ok", 1)]) is None
    assert store.counters() == {"pages:ok": 1, "seconds": 0.25}
    assert not store.begin_page(task_id, 1, "w")
    assert store.take_page(task_id, 1, "w9") is None
    found = store.task(task_id)
    assert found is not None
    assert (found.state, found.missing) == ("STARTED", (2,))
    assert found.settled == {1: "ok"}
    assert store.progress([task_id, "0" * 32]) == {task_id: TaskProgress("STARTED", 1)}
    assert store.settle_page(task_id, 2, "failed") == 0  # whoever settles the last page knows it
    assert store.finish(task_id, "FAILURE", "why")
    assert not store.finish(task_id, "SUCCESS")
    assert not store.begin_page(task_id, 2, "w")
    assert store.settle_page(task_id, 2, "ok") is None
    found = store.task(task_id)
    assert found is not None
    assert (found.state, found.error) == ("FAILURE", "why")
    assert found.finished_s is not None
    assert store.unfinished() == []


def test_pages_are_claimed_for_sending_once(store: Store) -> None:
    task_id = create(store, record(5)).task_id
    assert store.unsent() == [task_id]
    assert [store.take_unsent(task_id, 2) for _ in range(4)] == [0, 2, 4, None]
    assert store.unsent() == []
    other = create(store, record(5)).task_id
    store.finish(other, "CANCELED")
    assert store.unsent() == []
    assert store.take_unsent(other, 2) is None


def test_pages_of_a_lost_worker_are_suspected(store: Store) -> None:
    task_id = create(store, record(4)).task_id
    for number in (1, 2, 3):
        store.begin_page(task_id, number, "w1")
    store.settle_page(task_id, 1, "ok")
    store.begin_page(task_id, 4, "w2")
    assert store.readers() == {"w1", "w2"}
    assert sorted(store.release("w1", "killed")) == [(task_id, 2), (task_id, 3)]
    assert store.readers() == {"w2"}
    assert store.take_page(task_id, 2, "w9") == Suspicion(1, 2, "killed")
    assert store.take_page(task_id, 4, "w2") == Suspicion()
    store.begin_page(task_id, 2, "w1")
    assert store.release("w1", "broken") == [(task_id, 2)]
    assert store.take_page(task_id, 2, "w9") == Suspicion(2, 1, "broken")
    # who only stopped is held against nobody
    store.begin_page(task_id, 3, "w1")
    store.begin_page(task_id, 3, "w2")
    assert store.release("w1", None) == []
    assert sorted(store.release("w2", None)) == [(task_id, 3), (task_id, 4)]
    assert store.take_page(task_id, 3, "w9") == Suspicion(1, 2, "killed")
    assert store.release("w2", "again") == []


def test_pages_that_wait_in_a_lost_worker_are_not_suspected(store: Store) -> None:
    task_id = create(store, record(3)).task_id
    for number in (1, 2, 3):
        assert store.take_page(task_id, number, "w1") == Suspicion()
    store.begin_page(task_id, 1, "w1")
    store.settle_page(task_id, 1, "ok")
    store.begin_page(task_id, 2, "w1")
    returned = store.release("w1", "killed")
    # the embedded queue itself gives back what was only delivered
    assert (task_id, 3) in returned or isinstance(store, SqliteStore)
    assert sorted(returned)[0] == (task_id, 2)
    assert store.take_page(task_id, 2, "w9") == Suspicion(1, 1, "killed")
    assert store.take_page(task_id, 3, "w9") == Suspicion()


def test_webhooks_are_due_until_they_are_done(store: Store) -> None:
    silent, told = create(store, record()), create(store, record(webhook="http://a.example"))
    assert store.take_webhook(time.time(), 0) is None
    for task in (silent, told):
        store.finish(task.task_id, "SUCCESS")
    assert store.take_webhook(100, 200) == (told.task_id, 1)
    assert store.take_webhook(100, 200) is None  # somebody is at it
    assert store.take_webhook(200, 300) == (told.task_id, 2)  # who was at it is gone
    store.put_webhook(told.task_id, 250)
    assert store.take_webhook(249, 300) is None
    assert store.take_webhook(251, 300) == (told.task_id, 3)
    store.put_webhook(told.task_id, None)
    assert store.take_webhook(999, 999) is None


def test_changes_are_told(store: Store) -> None:
    task_id = create(store, record(2)).task_id
    told = threading.Event()

    def listen() -> None:
        store.wait_for_change(0)
        listening.set()
        store.wait_for_change(20)
        told.set()

    listening = threading.Event()
    thread = threading.Thread(target=listen)
    thread.start()
    assert listening.wait(10)
    started_s = time.monotonic()
    store.begin_page(task_id, 1, "w")
    thread.join(30)
    assert told.is_set()
    assert time.monotonic() - started_s < 15


def test_a_locked_store_is_told_in_time(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "tasks.db")
    other = sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started_s = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        store.count([("a", 1)])
    assert time.monotonic() - started_s < 10
    other.execute("ROLLBACK")
    store.count([("a", 1)])
    assert store.counters() == {"a": 1}


def test_limits_count_unfinished_tasks(store: Store) -> None:
    first = create(store, record(), client_tasks=2)
    create(store, record(), client_tasks=2)
    with pytest.raises(TooManyTasksError):
        create(store, record(), client_tasks=2)
    create(store, record(client="other"), client_tasks=2)
    with pytest.raises(QueueFullError):
        create(store, record(client="third"), tasks=3)
    store.finish(first.task_id, "CANCELED")
    create(store, record(), client_tasks=2)


def test_idempotency_key_is_the_owners(store: Store) -> None:
    first = create(store, record(idempotency_key="k"))
    assert create(store, record(idempotency_key="k")).task_id == first.task_id
    other = create(store, record(idempotency_key="k", owner="p"))
    assert other.task_id != first.task_id
    store.delete(first.task_id)
    assert create(store, record(idempotency_key="k")).task_id != first.task_id


def test_places_by_lane(store: Store) -> None:
    tasks = [create(store, record(pages)) for pages in (1, 9, 1, 9, 1)]
    assert [store.ahead(task.task_id) for task in tasks] == [0, 0, 1, 1, 2]
    assert store.pending() == {"short": 3, "long": 2}
    store.begin_page(tasks[0].task_id, 1, "w")
    store.finish(tasks[1].task_id, "CANCELED")
    assert [store.ahead(task.task_id) for task in tasks[2:]] == [0, 0, 1]
    assert store.unfinished() == [tasks[i].task_id for i in (0, 2, 3, 4)]


def test_lists_and_deletes(store: Store) -> None:
    tasks = [create(store, record()) for _ in range(3)]
    create(store, record(owner="other"))
    listed = [task.record.task_id for task in store.tasks_of("o", 2)]
    assert listed == [tasks[2].task_id, tasks[1].task_id]
    store.delete(tasks[2].task_id)
    store.delete(tasks[2].task_id)
    assert store.task(tasks[2].task_id) is None
    assert len(store.tasks_of("o", 9)) == 2
    assert store.expired(time.time()) == []
    assert set(store.expired(time.time() + 101)) > {tasks[0].task_id}


def test_live_text_ends_with_its_page(store: Store) -> None:
    task_id = create(store, record()).task_id
    store.begin_page(task_id, 1, "w")
    store.write_live(task_id, 1, "half a")
    assert store.read_live(task_id, 1) == "half a"
    store.begin_page(task_id, 1, "w")
    assert store.read_live(task_id, 1) == ""
    store.write_live(task_id, 1, "again")
    store.settle_page(task_id, 1, "ok")
    assert store.read_live(task_id, 1) == ""


def test_workers_counters_and_turns(store: Store) -> None:
    store.beat("w1", {"engine": "e"})
    assert store.workers() == {"w1": {"engine": "e"}}
    store.beat("w1", {"trouble": "why"})
    assert store.workers() == {}
    assert store.troubles() == {"w1": "why"}
    store.forget_worker("w1")
    assert store.troubles() == {}
    store.count([("a:b", 1), ("a:c", 0.5)])
    store.count([("a:b", 2)])
    assert store.counters() == {"a:b": 3, "a:c": 0.5}
    assert store.once("turn", 0.2)
    assert not store.once("turn", 0.2)
    time.sleep(0.25)
    assert store.once("turn", 0.2)


def test_many_threads_settle_a_page_once(store: Store) -> None:
    task_id = create(store, record()).task_id
    won: list[int | None] = []

    def work() -> None:
        store.begin_page(task_id, 1, "w")
        won.append(store.settle_page(task_id, 1, "ok"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won.count(0) == 1
    assert won.count(None) == 7


def test_redis_that_is_away_is_told() -> None:
    store = RedisStore(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(StoreUnavailableError):
        store.pending()


def test_bytes_are_kept_until_tasks_are_deleted(store: Store) -> None:
    def keep(client: str, num_bytes: int) -> str:
        settings = ServiceSettings(max_client_bytes=10, max_data_bytes=15)
        return store.create(record(client=client, num_bytes=num_bytes), settings).task_id

    first = keep("a", 6)
    with pytest.raises(TooManyBytesError):
        keep("a", 5)
    store.finish(first, "SUCCESS")
    with pytest.raises(TooManyBytesError):
        keep("a", 5)
    second = keep("b", 9)
    with pytest.raises(NoBytesLeftError):
        keep("c", 1)
    store.delete(first)
    store.delete(first)
    keep("a", 6)
    store.delete(second)
    third = keep("c", 9)
    # what its files really are is known in the end
    store.weigh(third, 2)
    fourth = keep("c", 7)
    store.weigh(fourth, 9)
    with pytest.raises(TooManyBytesError):
        keep("c", 0)
    store.delete(third)
    store.delete(fourth)
    store.weigh(fourth, 5)
    keep("c", 9)
