"""A PDF with one picture per page, written page by page: only the objects' offsets are kept.

img2pdf keeps them all: 203 MB for 150 JPEGs of 1.4 MB, and took more processor time.
"""

import zlib
from typing import IO

from PIL import Image

_CATALOG, _PAGES = 1, 2

EMPTY_PAGE_PT = (595.0, 842.0)


class PicturePdf:
    """Add pages, then `close`; the file itself stays open."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        # offsets by object number; those of the catalog and the page tree are known at the end
        self._offsets: dict[int, int] = {}
        self._last = _PAGES
        self._page_numbers: list[int] = []
        # a comment of high bytes marks the file as binary
        file.write(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")

    def add_jpeg(self, jpeg: bytes, picture: Image.Image, size_pt: tuple[float, float]) -> None:
        """Add a page with a JPEG, not recoded. `picture` is the same, for its size and mode (L or
        RGB)."""
        self._add(jpeg, "DCTDecode", picture, size_pt)

    def add_lossless(self, picture: Image.Image, size_pt: tuple[float, float]) -> None:
        """Add a page with every pixel of an L or RGB picture."""
        self._add(zlib.compress(picture.tobytes(), 6), "FlateDecode", picture, size_pt)

    def add_empty(self) -> None:
        """Add an empty page."""
        self._add_page("<<>>", b"", EMPTY_PAGE_PT)

    def close(self) -> None:
        """Write the rest of the file: the page tree, the catalog and the table of objects."""
        kids = " ".join(f"{number} 0 R" for number in self._page_numbers)
        count = len(self._page_numbers)
        self._write(_PAGES, f"<</Type/Pages/Count {count}/Kids[{kids}]>>")
        self._write(_CATALOG, f"<</Type/Catalog/Pages {_PAGES} 0 R>>")
        start = self._file.tell()
        size = self._last + 1
        rows = [f"{self._offsets[number]:010d} 00000 n \n" for number in range(1, size)]
        table = f"xref\n0 {size}\n0000000000 65535 f \n{''.join(rows)}"
        trailer = f"trailer\n<</Size {size}/Root {_CATALOG} 0 R>>\nstartxref\n{start}\n%%EOF\n"
        self._file.write((table + trailer).encode("ascii"))

    def _add(
        self, data: bytes, decoder: str, picture: Image.Image, size_pt: tuple[float, float]
    ) -> None:
        space = {"L": "DeviceGray", "RGB": "DeviceRGB"}[picture.mode]
        image = self._next()
        self._write(
            image,
            f"<</Type/XObject/Subtype/Image/Width {picture.width}/Height {picture.height}"
            f"/ColorSpace/{space}/BitsPerComponent 8/Filter/{decoder}/Length {len(data)}>>",
            data,
        )
        content = f"q {size_pt[0]:.3f} 0 0 {size_pt[1]:.3f} 0 0 cm /Im Do Q\n".encode("ascii")
        self._add_page(f"<</XObject<</Im {image} 0 R>>>>", content, size_pt)

    def _add_page(self, resources: str, content: bytes, size_pt: tuple[float, float]) -> None:
        contents = self._next()
        self._write(contents, f"<</Length {len(content)}>>", content)
        page = self._next()
        self._write(
            page,
            f"<</Type/Page/Parent {_PAGES} 0 R/MediaBox[0 0 {size_pt[0]:.3f} {size_pt[1]:.3f}]"
            f"/Resources {resources}/Contents {contents} 0 R>>",
        )
        self._page_numbers.append(page)

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _write(self, number: int, dictionary: str, stream: bytes | None = None) -> None:
        self._offsets[number] = self._file.tell()
        self._file.write(f"{number} 0 obj\n{dictionary}\n".encode("ascii"))
        if stream is not None:
            self._file.write(b"stream\n" + stream + b"\nendstream\n")
        self._file.write(b"endobj\n")
