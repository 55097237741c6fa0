"""What stands alone at a page's edge and is its number."""

import pytest

from deepocr.parsing.page_numbers import is_page_number

NUMBERS = (
    "7; - 12 -; xiv; Page 3 of 12; p. 9; Seite 4; página 3; S. 17; [5]; 3/12; A-4; 第 3 页 共 9 页"
)


@pytest.mark.parametrize("text", NUMBERS.split("; "))
def test_is_one(text: str) -> None:
    assert is_page_number(text)


@pytest.mark.parametrize("text", ["", "12345", "in 1742", "Page", "3 carts", "1742 and 1743"])
def test_is_none(text: str) -> None:
    assert not is_page_number(text)
