"""What the viewer shows: pages and figures as pictures inside the HTML."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from deepocr.book.pictures import upright_picture
from deepocr.book.stitch import Records, upright_result
from deepocr.documents import Document
from deepocr.render.html import ShownPage

VIEWER_SIDE_PX = 1400
VIEWER_QUALITY = 60
FIGURE_SIDE_PX = 800


def shown_pages(document: Document, folder: Path, records: Records) -> Iterator[ShownPage]:
    """Pages for the viewer, their pictures and figures inside."""
    for record in records():
        image = upright_picture(document, record)
        yield ShownPage(
            result=upright_result(record),
            picture_src=None if image is None else data_url(image, VIEWER_SIDE_PX),
            figure_srcs={figure.region: _figure(folder / figure.file) for figure in record.figures},
        )


def _figure(path: Path) -> str:
    with Image.open(path, formats=["PNG"]) as image:
        return data_url(image.convert("RGB"), FIGURE_SIDE_PX)


def data_url(image: Image.Image, side_px: int) -> str:
    """The picture as WebP, its longer side at most `side_px`."""
    small = image.copy()
    small.thumbnail((side_px, side_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=VIEWER_QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(file.getbuffer()).decode("ascii")
