"""Threads that run beside a process for all its life: when one dies, the process ends."""

import logging
import os
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

EXIT_HUNG = 70
EXIT_THREAD_DIED = 71
EXIT_ENGINE_BROKEN = 75
EXIT_CANNOT_START = 78
"""Starting the process again will not help."""

REASONS = {
    EXIT_HUNG: "a page did not stop after its hard limit",
    EXIT_THREAD_DIED: "a part of it failed; its log says why",
    EXIT_ENGINE_BROKEN: "the engine broke and could read nothing any more",
    EXIT_CANNOT_START: "the engine cannot be had; its log says why",
}


def start_thread(target: Callable[[], object], name: str) -> threading.Thread:
    """A daemon thread that ends the process with EXIT_THREAD_DIED when it raises."""

    def run() -> None:
        try:
            target()
        except BaseException:
            log.critical("the thread %r died and ends its process", name, exc_info=True)
            os._exit(EXIT_THREAD_DIED)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
