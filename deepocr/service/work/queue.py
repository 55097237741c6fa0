"""Celery's configuration, and how pages get into its queue. It carries page jobs only."""

import contextlib
import sqlite3
from collections.abc import Iterator

import redis
from celery import Celery
from kombu import Exchange
from kombu import Queue as Lane
from kombu.exceptions import OperationalError

from deepocr.service.settings import ServiceSettings
from deepocr.service.state.records import TaskRecord
from deepocr.service.state.store import ANSWER_S, Store, StoreUnavailableError
from deepocr.service.work import broker

PAGE = "deepocr.page"

LANES = ("short", "long")

EMBEDDED_POLL_S = 0.05
"""Pause between polls of the embedded broker in seconds."""

SEND_PAGES = 50
"""Pages of a book that are queued at a time, so that other tasks come in between."""


def make_celery(settings: ServiceSettings) -> Celery:
    """A Celery app on Redis or, without it, on files in the data folder."""
    app = Celery("deepocr", set_as_current=False)
    app.conf.update(
        task_queues=[Lane(name, Exchange(name), routing_key=name) for name in LANES],
        task_default_queue="short",
        # a page is acknowledged when its result is kept, so a worker's death loses none
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1, "interval_max": 0.2},
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_pool_limit=32,
    )
    if settings.redis_url is None:
        _use_files(app, settings)
    else:
        _use_redis(app, settings, settings.redis_url.get_secret_value())
    return app


def _use_files(app: Celery, settings: ServiceSettings) -> None:
    broker.register()
    app.conf.update(
        broker_url=broker.url_of(settings.local_dir / "queue.db"),
        broker_transport_options={"polling_interval": EMBEDDED_POLL_S},
    )


def _use_redis(app: Celery, settings: ServiceSettings, url: str) -> None:
    app.conf.update(
        broker_url=url,
        broker_transport_options={
            "visibility_timeout": settings.redelivery_s(),
            # pause between checks for overdue messages; Kombu's default is 100 s
            "unacked_restore_interval": min(10.0, settings.redelivery_s() / 4),
            "unacked_restore_throttle": 1,
            "global_keyprefix": "deepocr:queue:",
            "socket_timeout": ANSWER_S,
            "socket_connect_timeout": ANSWER_S,
            "socket_keepalive": True,
        },
    )


def send_unsent(app: Celery, store: Store, record: TaskRecord) -> bool:
    """Queue the task's next SEND_PAGES pages; False when all are queued already.

    Raises StoreUnavailableError. Pages that were claimed but did not reach the queue are sent again
    when the task makes no progress.
    """
    first = store.take_unsent(record.task_id, SEND_PAGES)
    if first is None:
        return False
    pages = [(record.task_id, number) for number in record.numbers[first : first + SEND_PAGES]]
    send_pages(app, record.lane, pages)
    return True


def send_pages(app: Celery, lane: str, pages: list[tuple[str, int]]) -> None:
    """Queue pages, by task and number. Raises StoreUnavailableError."""
    with _told(), app.producer_or_acquire() as producer:
        for page in pages:
            # without argsrepr Celery formats the arguments of every message for its log
            job = app.signature(PAGE, args=page, queue=lane, argsrepr="", kwargsrepr="")
            job.apply_async(producer=producer)


def send_again(app: Celery, store: Store, pages: list[tuple[str, int]]) -> None:
    """Queue returned pages again, unless their tasks are over. Raises StoreUnavailableError."""
    tasks = store.tasks(sorted({task_id for task_id, _ in pages}))
    for task_id, snapshot in tasks.items():
        if not snapshot.final:
            mine = [page for page in pages if page[0] == task_id]
            send_pages(app, snapshot.record.lane, mine)


def waiting_messages(app: Celery) -> int:
    """Messages in the broker that no worker has taken yet. Raises StoreUnavailableError."""
    with _told(), app.connection_for_read() as connection, connection.channel() as channel:
        # not a passive declare, which Redis answers with an error for an empty queue
        return sum(channel._size(name) for name in LANES)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (OperationalError, redis.RedisError, sqlite3.Error) as error:
        raise StoreUnavailableError(f"the queue cannot be used: {error}") from error
