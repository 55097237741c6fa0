"""Loads the texts to be checked from files by any program, in Markdown, plain, or raw with tags."""

import re
from pathlib import Path

from deepocr.errors import InvalidInput
from deepocr.render.raw import PAGE_SPLIT

MAX_BYTES = 64 << 20
"""Largest text file; no document that can be read has so much text."""

UNDIVIDED = 0
"""Stands for the page number of a text of many pages without page splits."""

_SUFFIXES = ("mmd", "md", "markdown", "txt", "raw.mmd", "raw.md", "raw.txt")
_PAGE_FILE = re.compile(rf"(.*?)(\d{{1,6}})\.({'|'.join(_SUFFIXES)})", re.IGNORECASE)
# the page splits of this project, of pdftotext and of Marker
_SPLIT = re.compile(rf"{re.escape(PAGE_SPLIT)}|\f|^\{{\d+\}}-{{48}}$", re.MULTILINE)


def load_texts(place: Path, num_pages: int, page: int | None = None) -> dict[int, str]:
    """Texts by page number, from a folder of numbered files or from one file.

    A file with page splits has a text for every page. One without is the text of `page` or of a
    document's only page, else it is UNDIVIDED. Raises InvalidInput for texts that do not fit the
    document.
    """
    if page is not None and not 1 <= page <= num_pages:
        raise InvalidInput(f"the document has no page {page}, only 1 to {num_pages}")
    if place.is_dir():
        texts = _from_folder(place)
    else:
        texts = _from_file(_read(place), place.name, num_pages, page)
    if page is not None:
        if page not in texts:
            raise InvalidInput(f"{place.name!r} has no text of page {page}; check the number")
        return {page: texts[page]}
    if beyond := [number for number in texts if number > num_pages]:
        raise InvalidInput(
            f"there is a text of page {beyond[0]}, and the document has {num_pages}: give the "
            "document that the texts were read from"
        )
    return texts


def _from_folder(folder: Path) -> dict[int, str]:
    """Texts with names such as `page_0001.mmd`, `0001.txt` or `report-p1.md`, which differ only by
    their last number. Some tools count pages from 0. Of several texts of a page, the one whose
    suffix comes first in _SUFFIXES is taken."""
    files: dict[int, tuple[int, Path]] = {}
    beginnings = set()
    for file in sorted(folder.iterdir()):
        match = _PAGE_FILE.fullmatch(file.name)
        if not match or not file.is_file():
            continue
        number, rank = int(match[2]), _SUFFIXES.index(match[3].lower())
        beginnings.add(match[1])
        files[number] = min(files.get(number, (rank, file)), (rank, file))
    if len(beginnings) > 1:
        one, other = sorted(beginnings)[:2]
        raise InvalidInput(
            f"{folder.name!r} has texts whose names begin with {one!r} and with {other!r}; leave "
            "one text of each page there"
        )
    if not files:
        raise InvalidInput(f"{folder.name!r} holds no page_NNNN.mmd, .md or .txt; check the folder")
    first = 1 if 0 in files else 0
    return {number + first: _read(file) for number, (_, file) in files.items()}


def _from_file(text: str, name: str, num_pages: int, page: int | None) -> dict[int, str]:
    pages = _SPLIT.split(text)
    if len(pages) == 1:
        return {page or (1 if num_pages == 1 else UNDIVIDED): text}
    # a split comes after every page, or before every page
    if not pages[-1].strip():
        pages.pop()
    elif not pages[0].strip():
        pages.pop(0)
    if len(pages) != num_pages and page is None:
        raise InvalidInput(
            f"{name!r} has {len(pages)} pages and the document {num_pages}: give the text of "
            "every page, or of one with --page"
        )
    return dict(enumerate(pages, 1))


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InvalidInput(f"{file.name!r} has more than {MAX_BYTES:,} bytes; split it")
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"{file.name!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file.name!r} is no UTF-8 text: {error.reason}; convert it") from error
