"""Documents cut into parts."""

from hypothesis import given
from hypothesis import strategies as st

from deepocr.corpus.plan import OpenedDocument, cut_parts


@given(st.lists(st.integers(0, 40)), st.integers(1, 50))
def test_every_page_is_in_one_part_in_order(sizes: list[int], part_pages: int) -> None:
    documents = [
        OpenedDocument(index, f"{index}.pdf", num_pages=size, error=None if size else "damaged")
        for index, size in enumerate(sizes)
    ]
    parts = cut_parts(3, documents, part_pages, one_at_random=False)
    pages = [
        (piece.document.document_id, number)
        for part in parts
        for piece in part.pieces
        for number in piece.numbers
    ]
    assert pages == [
        (index, number) for index, size in enumerate(sizes) for number in range(1, size + 1)
    ]
    assert [part.number for part in parts] == list(range(len(parts)))
    assert all(part.num_pages == part_pages for part in parts[:-1])
    assert all(part.shard == 3 and part.num_pages <= part_pages for part in parts)


def test_a_large_document_is_spread_and_small_ones_share() -> None:
    sizes = [1, 1, 5000, 1]
    documents = [OpenedDocument(i, f"{i}.pdf", num_pages=n) for i, n in enumerate(sizes)]
    parts = cut_parts(0, documents, 128, one_at_random=False)
    assert len(parts) == 40
    assert [piece.document.document_id for piece in parts[0].pieces] == [0, 1, 2]
    assert [piece.document.document_id for piece in parts[-1].pieces] == [2, 3]


def test_chosen_pages_and_samples() -> None:
    document = OpenedDocument(7, "a.pdf", "2-4,9", num_pages=10)
    (part,) = cut_parts(0, [document], 128, one_at_random=False)
    assert part.pieces[0].numbers == (2, 3, 4, 9)
    (sampled,) = cut_parts(0, [document], 128, one_at_random=True)
    assert len(sampled.pieces[0].numbers) == 1
    assert sampled == cut_parts(0, [document], 128, one_at_random=True)[0]
