"""Page numbers, as they stand at the edge of a page."""

import re

_PAGE_NUMBER = re.compile(
    r"""[\s\-–—~·.|\[(]*
    (?: (?:page|p\.|pg\.|seite|s\.|página|页)?\s*(?:\d{1,4}|[ivxlcdm]{1,7}|[A-Z]{1,2}-?\d{1,4})
        (?:\s*(?:of|/|-|von|de|sur)\s*\d{1,4})?
      | 第\s*\d+\s*页(?:.*共\s*\d+\s*页)?
    )[\s\-–—~·.|\])]*""",
    re.IGNORECASE | re.VERBOSE,
)


def is_page_number(text: str) -> bool:
    """Whether a text is only an Arabic, Roman or appendix number, possibly with words as in `Page 3
    of 12`."""
    return bool(_PAGE_NUMBER.fullmatch(text))
