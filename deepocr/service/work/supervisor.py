"""Keeps one worker process alive: starts it again when it ends, stops it when it hangs."""

import fcntl
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time

from deepocr.service.settings import ServiceSettings
from deepocr.service.work import broker

log = logging.getLogger(__name__)

EXIT_CANNOT_START = 78
"""The worker process's word for: starting me again will not help."""

NOT_OURS = -1
LOCK_WAIT_S = 10.0
"""A worker whose supervisor was killed notices it within a second and ends."""

LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
"""A worker that lived for so long is started again at once."""


class Supervisor:
    """`run` blocks until `stop` is called from another thread, or the worker cannot start."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self.restarts = 0

    def run(self) -> int:
        """The exit code of the last worker process."""
        pause_s = 0.5
        while True:
            started_s = time.monotonic()
            code = self._run_child()
            if self._stopping.is_set() or code == EXIT_CANNOT_START:
                return code
            log.error("the worker process ended with code %d and is started again", code)
            steady = time.monotonic() - started_s > STEADY_S
            pause_s = 0.5 if steady else min(pause_s * 2, LONGEST_PAUSE_S)
            if self._stopping.wait(pause_s):
                return code
            self.restarts += 1

    def stop(self) -> None:
        """Let the worker finish its pages; it is killed when they take longer than they may."""
        self._stopping.set()
        child = self._child
        if child is not None and child.poll() is None:
            child.send_signal(signal.SIGTERM)

    def _run_child(self) -> int:
        lock_fd = self._own_queue() if self._settings.redis_url is None else None
        if lock_fd == NOT_OURS:
            return EXIT_CANNOT_START
        reading_end, writing_end = os.pipe()
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "deepocr.service", "worker-process", str(writing_end)],
                # the lock goes along: it is free only when both processes are gone
                pass_fds=(writing_end,) if lock_fd is None else (writing_end, lock_fd),
                # Ctrl-C reaches this process only, which then stops the worker gently
                start_new_session=True,
            )
            os.close(writing_end)
            if self._stopping.is_set():
                self._child.send_signal(signal.SIGTERM)
            return self._watch(self._child, reading_end)
        finally:
            os.close(reading_end)
            if lock_fd is not None:
                os.close(lock_fd)

    def _watch(self, child: subprocess.Popen[bytes], alive_fd: int) -> int:
        """Wait for the worker's end, and bring it about when it gives no sign of life."""
        limit_s = self._settings.page_limit_s()
        last_beat_s: float | None = None
        stop_s: float | None = None
        while child.poll() is None:
            ready, _, _ = select.select([alive_fd], [], [], 0.5)
            now_s = time.monotonic()
            if ready:
                if not os.read(alive_fd, 4096):
                    return child.wait()
                last_beat_s = now_s
            if self._stopping.is_set() and stop_s is None:
                stop_s = now_s
            silent = last_beat_s is not None and now_s - last_beat_s > limit_s
            if silent or (stop_s is not None and now_s - stop_s > limit_s):
                log.error("the worker process has given no sign of life and is killed")
                child.kill()
        return child.returncode

    def _own_queue(self) -> int:
        """The embedded queue for this worker alone, with what the last one left unfinished.

        A descriptor that holds the lock, or NOT_OURS when another worker keeps it.
        """
        folder = self._settings.data_dir
        lock_fd = os.open(folder / "worker.lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline_s = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s or self._stopping.is_set():
                    log.error("another worker uses %s; more than one needs REDIS_URL", folder)
                    os.close(lock_fd)
                    return NOT_OURS
                time.sleep(0.1)
        restored = broker.restore_delivered(folder / "queue.db")
        if restored:
            log.info("%d messages of the last worker wait again", restored)
        return lock_fd
