"""Keeps one worker process alive: starts it again when it ends, stops it when it hangs."""

import logging
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import ParamSpec

from filelock import lock_descriptor

from deepocr.service.settings import ServiceSettings
from deepocr.service.state.opening import open_store
from deepocr.service.state.store import Store, StoreUnavailableError
from deepocr.service.work import broker
from deepocr.service.work.queue import make_celery, send_again
from deepocr.service.work.threads import EXIT_CANNOT_START, EXIT_HUNG, REASONS

log = logging.getLogger(__name__)

NOT_OURS = -1
LOCK_WAIT_S = 10.0
"""Time in which a worker notices that its supervisor was killed, and ends."""

FIRST_BEAT_S = 60.0
"""Time a worker may take until its first sign of life: it imports libraries."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
"""A worker that ran for this long is restarted without a pause."""

TELL_S = 5.0
STORE_PAUSE_S = 1.0
LOOK_S = 0.5

P = ParamSpec("P")


class Supervisor:
    """`run` blocks until `stop` is called from another thread, or the worker cannot start."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._worker_id = f"deepocr-{secrets.token_hex(4)}@{socket.gethostname()}"
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """The exit code of the last worker process."""
        lock_fd = self._own_queue() if self._settings.redis_url is None else None
        if lock_fd == NOT_OURS:
            return EXIT_CANNOT_START
        store = open_store(self._settings)
        try:
            if lock_fd is not None:
                self._patiently(_release_all, store)
            return self._keep_alive(store, lock_fd)
        finally:
            store.close()
            if lock_fd is not None:
                os.close(lock_fd)

    def _keep_alive(self, store: Store, lock_fd: int | None) -> int:
        pause_s = FIRST_PAUSE_S
        lost = False
        while True:
            if lock_fd is not None:
                self._patiently(broker.restore_delivered, self._settings.local_dir / "queue.db")
            started_s = time.monotonic()
            code = self._run_child(lock_fd, probe=lost)
            stopping = self._stopping.is_set()
            if not stopping and code != EXIT_CANNOT_START:
                log.error("the worker process was lost: %s; it is started again", _reason(code))
            lost = code != 0
            steady = time.monotonic() - started_s > STEADY_S
            pause_s = FIRST_PAUSE_S if steady else min(pause_s * 2, LONGEST_PAUSE_S)
            # no page is to blame for a requested stop
            reason = None if stopping or code in (0, EXIT_CANNOT_START) else _reason(code)
            self._patiently(self._give_back, store, reason)
            self._pause(store, reason, time.monotonic() + pause_s)
            if self._stopping.is_set() or code == EXIT_CANNOT_START:
                return code

    def _give_back(self, store: Store, reason: str | None) -> None:
        pages = store.release(self._worker_id, reason)
        if self._settings.redis_url is not None:
            # otherwise the queue would redeliver the lost worker's pages much later
            send_again(make_celery(self._settings), store, pages)

    def _pause(self, store: Store, reason: str | None, until_s: float) -> None:
        """Wait before a restart, and report why there is no worker."""
        while (left_s := until_s - time.monotonic()) > 0 and not self._stopping.is_set():
            if reason is not None:
                self._patiently(store.beat, self._worker_id, {"trouble": reason})
            self._stopping.wait(min(TELL_S, left_s))

    def _patiently(self, change: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Wait while the store is unavailable: the lost worker's pages must get their strikes."""
        while True:
            try:
                change(*args, **kwargs)
                return
            except StoreUnavailableError as error:
                log.warning("pages cannot be given back: %s", error)
            if self._stopping.wait(STORE_PAUSE_S):
                return

    def stop(self) -> None:
        """Let the worker finish its pages; it is killed if that takes too long."""
        self._stopping.set()
        child = self._child
        if child is not None and child.poll() is None:
            child.send_signal(signal.SIGTERM)

    def _run_child(self, lock_fd: int | None, *, probe: bool) -> int:
        reading_end, writing_end = os.pipe()
        command = [sys.executable, "-m", "deepocr.service", "worker-process", self._worker_id]
        try:
            self._child = subprocess.Popen(
                [*command, str(writing_end), *(["--probe"] if probe else [])],
                # the child inherits the lock: it is free only when both processes are gone
                pass_fds=(writing_end,) if lock_fd is None else (writing_end, lock_fd),
                # Ctrl-C reaches only this process, which then stops the worker gracefully
                start_new_session=True,
            )
            os.close(writing_end)
            if self._stopping.is_set():
                self._child.send_signal(signal.SIGTERM)
            return self._watch(self._child, reading_end)
        finally:
            os.close(reading_end)

    def _watch(self, child: subprocess.Popen[bytes], alive_fd: int) -> int:
        """Wait until the worker ends; kill it if it gives no sign of life."""
        silent_s = time.monotonic() + FIRST_BEAT_S
        stop_s: float | None = None
        looked_s = time.monotonic()
        while child.poll() is None:
            ready, _, _ = select.select([alive_fd], [], [], LOOK_S)
            now_s = time.monotonic()
            if now_s - looked_s > 2 * LOOK_S:
                silent_s += now_s - looked_s  # the whole machine was suspended, not just the worker
            looked_s = now_s
            if ready:
                if not os.read(alive_fd, 4096):
                    return child.wait()
                silent_s = now_s + self._settings.page_limit_s()
            if self._stopping.is_set() and stop_s is None:
                stop_s = now_s + self._settings.stop_timeout_s
            if now_s > silent_s or (stop_s is not None and now_s > stop_s):
                why = "does not stop" if stop_s is not None else "has given no sign of life"
                log.error("the worker process %s and is killed", why)
                child.kill()
                child.wait()
                return EXIT_HUNG
        return child.returncode

    def _own_queue(self) -> int:
        """A file descriptor that locks the embedded queue, or NOT_OURS if another worker holds the
        lock."""
        folder = self._settings.local_dir
        lock_fd = os.open(folder / "worker.lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline_s = time.monotonic() + LOCK_WAIT_S
        while True:
            if lock_descriptor(lock_fd, blocking=False):
                return lock_fd
            if time.monotonic() > deadline_s or self._stopping.is_set():
                log.error("another worker uses %s; more than one needs REDIS_URL", folder)
                os.close(lock_fd)
                return NOT_OURS
            time.sleep(0.1)


def _release_all(store: Store) -> None:
    """There is no other worker: a worker that still has pages was killed with its supervisor."""
    for worker_id in store.readers():
        store.release(worker_id, "it ended together with its supervisor")


def _reason(code: int) -> str:
    """Why a worker process ended, for whoever asks."""
    if code in REASONS:
        return REASONS[code]
    if code == -signal.SIGKILL:
        return "it was killed, as a system that runs out of memory does"
    return f"it ended by signal {-code}" if code < 0 else f"it ended with code {code}"
