"""Small files that cost far more than they weigh, made on the spot; their second page is empty."""

_CATALOG = b"<</Type/Catalog/Pages 2 0 R>>"
_PAGES = b"<</Type/Pages/Kids[3 0 R 4 0 R]/Count 2>>"
_EMPTY_PAGE = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]>>"
_FIRST = 6
"""Number of the object that the first page's content uses as /X."""


def endless_pdf() -> bytes:
    """Tiling patterns within tiling patterns: hours to draw."""
    content = b"/Pattern cs /X scn 0 0 400 400 re f"
    page = (
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 400]/Contents 5 0 R"
        b"/Resources<</Pattern<</X 6 0 R>>>>>>"
    )
    objects = [_CATALOG, _PAGES, page, _EMPTY_PAGE, _stream(b"", content)]
    for level in range(8):
        inner = b"/Pattern<</X %d 0 R>>" % (_FIRST + level + 1) if level < 7 else b""
        head = (
            b"/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 400 400]/XStep 3/YStep 3"
            b"/Resources<<%s>>" % inner
        )
        objects.append(_stream(head, content if inner else b"0 0 1 1 re f"))
    return _pdf(objects)


def hungry_pdf() -> bytes:
    """Transparency groups within each other, 60 pictures of 12 MB at 144 dpi."""
    page = (
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 1000 1000]/Contents 5 0 R"
        b"/Resources<</XObject<</X 6 0 R>>>>>>"
    )
    objects = [_CATALOG, _PAGES, page, _EMPTY_PAGE, _stream(b"", b"/X Do")]
    for level in range(60):
        inner = b"/XObject<</X %d 0 R>>" % (_FIRST + level + 1) if level < 59 else b""
        head = (
            b"/Type/XObject/Subtype/Form/BBox[0 0 1000 1000]"
            b"/Group<</S/Transparency/I true/K true>>"
            b"/Resources<</ExtGState<</G<</ca .5/BM/Multiply>>>>%s>>" % inner
        )
        objects.append(_stream(head, b"/G gs /X Do" if inner else b"0 0 1 1 re f"))
    return _pdf(objects)


def _stream(head: bytes, content: bytes) -> bytes:
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (head, len(content), content)


def _pdf(objects: list[bytes]) -> bytes:
    body = b"".join(
        b"%d 0 obj%s endobj\n" % (number, text) for number, text in enumerate(objects, start=1)
    )
    return b"%%PDF-1.4\n%strailer<</Root 1 0 R/Size %d>>\n%%%%EOF\n" % (body, len(objects) + 1)
