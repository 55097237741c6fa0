"""Page ranges as people write them: `1-3,7` or `5-`."""

import re

from deepocr.errors import PageRangeError

MAX_RANGE_CHARS = 10_000

# nine digits: beyond any document, and int() stays cheap
_PART = re.compile(r"(?P<first>[0-9]{1,9})(?:\s*(?P<dash>-)\s*(?P<last>[0-9]{1,9})?)?")


def parse_page_range(text: str, num_pages: int) -> tuple[int, ...]:
    """The page numbers that `text` names, counted from 1, each once and in document order.

    Parts are separated by commas: a page `7`, a range `1-3`, or `5-` for all from 5 on. An empty
    text means every page. Raises PageRangeError for anything else and for pages the document
    does not have.
    """
    if not text.strip():
        return tuple(range(1, num_pages + 1))
    if len(text) > MAX_RANGE_CHARS:
        raise PageRangeError(
            f"pages has {len(text)} characters; use at most {MAX_RANGE_CHARS}, ranges such as "
            "'1-300' are short"
        )
    chosen: set[int] = set()
    for part in text.split(","):
        chosen.update(_parse_part(part.strip(), num_pages))
    return tuple(sorted(chosen))


def _parse_part(part: str, num_pages: int) -> range:
    match = _PART.fullmatch(part)
    if match is None:
        raise PageRangeError(f"pages {part[:60]!r} is no page range; write for example '1-3,7'")
    first = int(match["first"])
    last = first
    if match["dash"]:
        last = int(match["last"]) if match["last"] else max(first, num_pages)
    if first == 0:
        raise PageRangeError(f"pages {part!r} names page 0; pages count from 1")
    if last < first:
        raise PageRangeError(f"pages {part!r} runs backwards; try '{last}-{first}'")
    if last > num_pages:
        plural = "page" if num_pages == 1 else "pages"
        raise PageRangeError(
            f"pages {part!r} goes beyond the document, which has {num_pages} {plural}; "
            f"the last one is {num_pages}"
        )
    return range(first, last + 1)
