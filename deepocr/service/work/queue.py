"""Celery: its configuration, and how a task becomes page jobs that a last one stitches."""

from typing import Any

from celery import Celery, Signature, chord
from kombu import Exchange
from kombu import Queue as Lane

from deepocr.service.settings import ServiceSettings
from deepocr.service.state.records import Snapshot, TaskRecord
from deepocr.service.work import broker

SPLIT, PAGE, STITCH = "deepocr.split", "deepocr.page", "deepocr.stitch"
NOTIFY, EXPORT = "deepocr.notify", "deepocr.export"

LANES = ("short", "long")

EMBEDDED_POLL_S = 0.05
"""How often the embedded broker is asked for messages, and a book for its last page, below."""

CHORD_POLL_S = 0.2


def make_celery(settings: ServiceSettings) -> Celery:
    """An app of its own on Redis or, without it, on files in the data folder."""
    app = Celery("deepocr", set_as_current=False)
    app.conf.update(
        task_queues=[Lane(name, Exchange(name), routing_key=name) for name in LANES],
        task_default_queue="short",
        # a page is acknowledged when its result is kept, so a worker's death loses none
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
        result_expires=settings.result_ttl_s,
        result_chord_retry_interval=CHORD_POLL_S,
        task_serializer="json",
        result_serializer="json",
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
    results = settings.data_dir.absolute() / "celery"
    results.mkdir(parents=True, exist_ok=True)
    app.conf.update(
        broker_url=broker.url_of(settings.data_dir / "queue.db"),
        broker_transport_options={"polling_interval": EMBEDDED_POLL_S},
        result_backend=f"file://{results}",
    )


def _use_redis(app: Celery, settings: ServiceSettings, url: str) -> None:
    app.conf.update(
        broker_url=url,
        result_backend=url,
        broker_transport_options={
            "visibility_timeout": settings.redelivery_s(),
            # how often workers look for what is overdue; Kombu's own is every 100 s
            "unacked_restore_interval": min(10.0, settings.redelivery_s() / 4),
            "unacked_restore_throttle": 1,
            "global_keyprefix": "deepocr:queue:",
            "socket_timeout": 5,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
        },
        result_backend_transport_options={
            "global_keyprefix": "deepocr:result:",
            "retry_policy": {"timeout": 60.0, "max_retries": 120, "interval_max": 2},
        },
        redis_socket_timeout=5,
        redis_socket_connect_timeout=5,
        redis_retry_on_timeout=True,
    )


def dispatch(app: Celery, record: TaskRecord) -> None:
    """Queue what is missing of a task. Doing it twice reads nothing twice."""
    if len(record.numbers) == 1:
        _page(app, record, record.numbers[0]).apply_async(link=_stitch(app, record))
    else:
        app.signature(SPLIT, args=(record.task_id,), queue="short").apply_async()


def spread(app: Celery, snapshot: Snapshot) -> None:
    """A job for every missing page, and one to stitch them when all are done."""
    record = snapshot.record
    pages = [_page(app, record, number) for number in snapshot.missing]
    if pages:
        chord(pages, app=app)(_stitch(app, record))
    else:
        _stitch(app, record).apply_async()


def stitch_again(app: Celery, record: TaskRecord) -> None:
    _stitch(app, record).apply_async()


def notify(app: Celery, task_id: str) -> None:
    """Tell the task's webhook that it is final."""
    app.signature(NOTIFY, args=(task_id,), queue="short").apply_async()


def export(app: Celery, task_id: str, kind: str) -> None:
    """Make a file of a final task that takes long to make."""
    app.signature(EXPORT, args=(task_id, kind), queue="short").apply_async()


def waiting_messages(app: Celery) -> int:
    """Messages in the broker that no worker has taken yet."""
    with app.connection_for_read() as connection, connection.channel() as channel:
        # not a passive declare, which Redis answers with an error for an empty queue
        return sum(channel._size(name) for name in LANES)


def _page(app: Celery, record: TaskRecord, number: int) -> Signature:
    # a chord needs to know that its parts are done, though what they return is nothing
    return app.signature(
        PAGE,
        args=(record.task_id, number),
        immutable=True,
        queue=record.lane,
        ignore_result=False,
        argsrepr="",  # for logs, and dear: Celery would format them for every message
        kwargsrepr="",
    )


def _stitch(app: Celery, record: TaskRecord) -> Signature:
    options: dict[str, Any] = {"queue": "short", "argsrepr": "", "kwargsrepr": ""}
    return app.signature(STITCH, args=(record.task_id,), immutable=True, **options)
