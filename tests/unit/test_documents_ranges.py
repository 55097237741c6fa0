import pytest

from deepocr.documents import DocumentLimits, open_document, parse_page_range
from deepocr.errors import DocumentTooLarge, PageRangeError
from tests.unit.document_samples import pdf_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (1, 2, 3, 4, 5, 6, 7)),
        ("  ", (1, 2, 3, 4, 5, 6, 7)),
        ("3", (3,)),
        ("1-3,7", (1, 2, 3, 7)),
        (" 1 - 3 , 7 ", (1, 2, 3, 7)),
        ("5-", (5, 6, 7)),
        ("7-", (7,)),
        ("7,1-2", (1, 2, 7)),
        ("2,2,1-3,3", (1, 2, 3)),
        ("007", (7,)),
    ],
)
def test_reads_ranges_once_each_in_document_order(text: str, expected: tuple[int, ...]) -> None:
    assert parse_page_range(text, 7) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("9-3", "runs backwards; try '3-9'"),
        ("0", "pages count from 1"),
        ("0-2", "pages count from 1"),
        ("5-", "has 3 pages"),
        ("4", "has 3 pages"),
        ("1-4", "has 3 pages"),
        ("abc", "'abc' is no page range"),
        ("-3", "'-3' is no page range"),
        ("1--2", "no page range"),
        ("1,,2", "no page range"),
        ("1,", "no page range"),
        ("1.5", "no page range"),
        ("٣", "no page range"),
        ("9" * 5000, "no page range"),
        ("1," * 6000 + "1", "12001 characters"),
    ],
)
def test_refuses_what_is_no_range_of_three_pages(text: str, says: str) -> None:
    with pytest.raises(PageRangeError, match=says) as caught:
        parse_page_range(text, 3)
    assert len(str(caught.value)) < 250


def test_one_page_is_said_in_the_singular() -> None:
    with pytest.raises(PageRangeError, match="which has 1 page;"):
        parse_page_range("2", 1)


def test_more_pages_than_one_request_may_read() -> None:
    with open_document(pdf_bytes(4), DocumentLimits(max_pages=3)) as document:
        assert document.select("2-4") == (2, 3, 4)
        with pytest.raises(DocumentTooLarge, match="4 pages are asked for; at most 3"):
            document.select("")
