"""Texts to be checked, from files: whoever wrote them, in Markdown, plain, or raw with tags."""

import re
from pathlib import Path

from deepocr.errors import InvalidInput
from deepocr.render.raw import PAGE_SPLIT

MAX_BYTES = 64 << 20
"""Of a text file; no document that is read has so much text."""

_PAGE_FILE = re.compile(r"page_?0*(\d{1,6})\.(?:raw\.)?(?:mmd|md|txt)")


def load_texts(place: Path, num_pages: int, page: int | None = None) -> dict[int, str]:
    """Texts by page number, from a folder of `page_NNNN.mmd` or from one file.

    A file with page splits has a text for every page; one without is the text of `page`, or of a
    document of one page. Raises InvalidInput for texts that do not fit the document.
    """
    if place.is_dir():
        texts = _from_folder(place)
        if page is not None:
            if page not in texts:
                raise InvalidInput(f"{place.name!r} has no text of page {page}; check the number")
            texts = {page: texts[page]}
    else:
        texts = _from_file(_read(place), place.name, num_pages, page)
    beyond = [number for number in texts if not 1 <= number <= num_pages]
    if beyond:
        raise InvalidInput(
            f"there is a text of page {beyond[0]}, and the document has {num_pages}: give the "
            "document that the texts were read from"
        )
    return texts


def _from_folder(folder: Path) -> dict[int, str]:
    texts: dict[int, str] = {}
    for file in sorted(folder.iterdir()):
        match = _PAGE_FILE.fullmatch(file.name)
        if not match:
            continue
        number = int(match[1])
        if number in texts:
            raise InvalidInput(f"{folder.name!r} has two texts of page {number}; leave one there")
        texts[number] = _read(file)
    if not texts:
        raise InvalidInput(f"{folder.name!r} holds no page_NNNN.mmd, .md or .txt; check the folder")
    return texts


def _from_file(text: str, name: str, num_pages: int, page: int | None) -> dict[int, str]:
    if PAGE_SPLIT not in text:
        if page is None and num_pages > 1:
            raise InvalidInput(
                f"{name!r} has no page splits ({PAGE_SPLIT!r}) and the document {num_pages} "
                "pages: say with --page of which one it is"
            )
        return {page or 1: text}
    pages = text.split(PAGE_SPLIT)
    if not pages[-1].strip():
        pages.pop()
    if page is not None:
        if not 1 <= page <= len(pages):
            raise InvalidInput(f"{name!r} has {len(pages)} pages and no page {page}")
        return {page: pages[page - 1]}
    if len(pages) != num_pages:
        raise InvalidInput(
            f"{name!r} has {len(pages)} pages and the document {num_pages}: give the text of "
            "every page, or of one with --page"
        )
    return dict(enumerate(pages, 1))


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InvalidInput(f"{file.name!r} has more than {MAX_BYTES:,} bytes; split it")
        return file.read_text("utf-8")
    except OSError as error:
        raise InvalidInput(f"{file.name!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file.name!r} is no UTF-8 text: {error.reason}; convert it") from error
