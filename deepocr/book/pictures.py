"""Page pictures once more, for what shows them."""

from PIL import Image

from deepocr.book.orientation import turn
from deepocr.book.records import PageRecord
from deepocr.documents import Document
from deepocr.errors import InvalidInput


def upright_picture(document: Document, record: PageRecord) -> Image.Image | None:
    """The page as a reader holds it; None where it cannot be drawn, as when it was read."""
    try:
        page = document.page(record.number)
    except InvalidInput:
        return None
    return turn(page, record.turned).image
