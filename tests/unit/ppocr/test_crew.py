"""Work of several pages on shared threads."""

import threading
from concurrent.futures import CancelledError

import pytest

from deepocr.engines.ppocr.recognition.crew import Crew


def test_the_oldest_page_goes_first_and_its_work_in_order() -> None:
    crew = Crew(1)
    free = threading.Event()
    done: list[str] = []
    crew.submit(0, free.wait)
    futures = [
        crew.submit(turn, done.append, name)
        for turn, name in ((2, "later page"), (1, "first line"), (1, "second line"))
    ]
    free.set()
    for future in futures:
        future.result()
    crew.close()
    assert done == ["first line", "second line", "later page"]


def test_an_error_reaches_who_asked_and_the_thread_lives_on() -> None:
    crew = Crew(1)
    wrong = crew.submit(0, int, "not a number")
    right = crew.submit(0, int, "7")
    with pytest.raises(ValueError, match="not a number"):
        wrong.result()
    assert right.result() == 7
    crew.close()


def test_closing_cancels_what_waits_and_takes_no_more() -> None:
    crew = Crew(1)
    free, started = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        free.wait()

    running = crew.submit(0, hold)
    waiting = crew.submit(0, str)
    started.wait()
    crew.close()
    free.set()
    running.result()
    with pytest.raises(CancelledError):
        waiting.result()
    with pytest.raises(RuntimeError):
        crew.submit(0, str)
