"""What was in hand when a process ended."""

from collections.abc import Callable
from pathlib import Path

from deepocr.corpus.plan import Part
from deepocr.corpus.tries import GROUP, PartTries
from deepocr.storage import DiskFolder

PAGES = range(40)


def read(folder: DiskFolder, deadly: Callable[[int], bool], tries: int = 2) -> list[int] | None:
    """One try of a part: the pages that were given up, or None where the process ended."""
    noted = PartTries(folder, Part(0, 0, ()))
    for group in noted.groups(PAGES):
        living = [place for place in group if noted.losses[place] < tries]
        note = noted.in_hand(group)
        note.__enter__()
        if any(deadly(place) for place in living):
            return None  # nothing of ours runs any more
        note.__exit__(None, None, None)
    noted.forget()
    return [place for place in PAGES if noted.losses[place] >= tries]


def test_a_part_without_losses_is_read_at_once(tmp_path: Path) -> None:
    folder = DiskFolder(tmp_path)
    noted = PartTries(folder, Part(0, 0, ()))
    assert list(noted.groups(PAGES)) == [PAGES]
    noted.forget()
    assert folder.names("_run/tries") == []


def test_a_page_that_ends_every_process_is_given_up_and_no_other(tmp_path: Path) -> None:
    folder = DiskFolder(tmp_path)
    ends = [read(folder, lambda place: place == 21) for _ in range(5)]
    assert ends == [None, None, None, None, [21]]
    assert folder.names("_run/tries") == []


def test_two_such_pages(tmp_path: Path) -> None:
    folder = DiskFolder(tmp_path)
    ends = [read(folder, lambda place: place in (2, 21)) for _ in range(9)]
    assert [2, 21] in ends
    assert ends.index([2, 21]) <= 8


def test_a_machine_that_is_lost_costs_no_page(tmp_path: Path) -> None:
    folder = DiskFolder(tmp_path)
    lost = iter([True, True])
    assert read(folder, lambda _place: next(lost)) is None
    assert read(folder, lambda _place: next(lost)) is None
    assert read(folder, lambda _place: False) == []


def test_suspects_are_read_alone_and_last(tmp_path: Path) -> None:
    folder = DiskFolder(tmp_path)
    for _ in range(2):
        assert read(folder, lambda place: place == 21) is None
    groups = [list(group) for group in PartTries(folder, Part(0, 0, ())).groups(PAGES)]
    assert [group for group in groups if len(group) == 1] == [
        [place] for place in range(GROUP, 2 * GROUP)
    ]
    assert sorted(place for group in groups for place in group) == list(PAGES)


def test_a_reader_that_ends_in_order_holds_nothing_against_the_part(tmp_path: Path) -> None:
    folder = DiskFolder(tmp_path)
    noted = PartTries(folder, Part(0, 0, ()))
    noted.give_back()
    assert not PartTries(folder, Part(0, 0, ())).lost
    again = PartTries(folder, Part(0, 0, ()))
    again.in_hand([3]).__enter__()
    again.give_back()
    assert not PartTries(folder, Part(0, 0, ())).losses[3]
