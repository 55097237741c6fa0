"""ALTO 4.4, the format of archives and libraries (https://www.loc.gov/standards/alto/).

Coordinates are pixels of the upright page. The lines of a text block have boxes if the engine knows
lines, else they have none.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from xml.sax.saxutils import escape, quoteattr

from deepocr import __version__
from deepocr.parsing.text import in_xml
from deepocr.render.failures import render_or_tell
from deepocr.render.form_document import FormDocument
from deepocr.render.markdown import TEXT_LABELS, is_figure
from deepocr.render.places import (
    angle_deg,
    around,
    one_by_one,
    plain_lines,
    quad_box,
    word_boxes,
    written_lines,
)
from deepocr.types import Box, Line, PageResult, Region

NAMESPACE = "http://www.loc.gov/standards/alto/ns-v4#"
SCHEMA = "http://www.loc.gov/standards/alto/v4/alto-4-4.xsd"


def alto_pieces(document: FormDocument) -> Iterator[str]:
    """The document as XML, page by page."""
    tags = "".join(
        f'<LayoutTag ID="label_{label}" LABEL="{label}"/>\n' for label in sorted(TEXT_LABELS)
    )
    settings = f"{document.engine}; {document.job.task}; {document.job.preset}"
    yield f"""<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="{NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="{NAMESPACE} {SCHEMA}" SCHEMAVERSION="4.4">
<Description>
<MeasurementUnit>pixel</MeasurementUnit>
<sourceImageInformation><fileName>{escape(in_xml(document.name))}</fileName></sourceImageInformation>
<Processing ID="reading">
<processingCategory>contentGeneration</processingCategory>
<processingStepSettings>{escape(in_xml(settings))}</processingStepSettings>
<processingSoftware><softwareName>deepocr</softwareName>\
<softwareVersion>{__version__}</softwareVersion></processingSoftware>
</Processing>
</Description>
<Tags>
{tags}</Tags>
<Layout>
"""
    for page in document.pages():
        yield render_or_tell(partial(_page, task=page.task), page.result, "ALTO")
    yield "</Layout>\n</alto>\n"


def _page(result: PageResult, task: str) -> str:
    number, (width, height) = result.number, result.size_px
    attributes = {"ID": f"page_{number}", "PHYSICAL_IMG_NR": number, "PROCESSINGREFS": "reading"}
    if width and height:
        attributes |= {"WIDTH": width, "HEIGHT": height}
    if result.confidence is not None:
        attributes["PC"] = f"{result.confidence:.4f}"
    if result.status not in ("ok", "retried"):
        attributes["QUALITY_DETAIL"] = ": ".join(filter(None, (result.status, result.error)))
    blocks = "".join(
        _block(region, f"{number}_{index}", task)
        for index, region in enumerate(one_by_one(result.regions), start=1)
    )
    space = _box((0, 0, width, height))
    return (
        f"<Page{_attributes(attributes)}>\n<PrintSpace{_attributes(space)}>\n"
        f"{blocks}</PrintSpace>\n</Page>\n"
    )


def _block(region: Region, place: str, task: str) -> str:
    attributes: dict[str, object] = {"ID": f"block_{place}"}
    if region.label in TEXT_LABELS:
        attributes["TAGREFS"] = f"label_{region.label}"
    box = around(region.boxes_px)
    if box is not None:
        attributes |= _box(box)
    shown = [
        _line(line, f"line_{place}_{n}") for n, line in enumerate(written_lines(region), start=1)
    ]
    shown = shown or [
        _text_line({"ID": f"line_{place}_{n}"}, [(word, None) for word in text.split()])
        for n, text in enumerate(plain_lines(region, task), start=1)
    ]
    if not shown and is_figure(region):
        return f"<Illustration{_attributes(attributes | {'TYPE': region.label})}/>\n"
    return f"<TextBlock{_attributes(attributes)}>\n{''.join(shown)}</TextBlock>\n"


def _line(line: Line, line_id: str) -> str:
    shape = ""
    if angle_deg(line.quad_px):
        points = " ".join(f"{x},{y}" for x, y in line.quad_px)
        shape = f'<Shape><Polygon POINTS="{points}"/></Shape>'
    attributes = {"ID": line_id, **_box(quad_box(line.quad_px))}
    return _text_line(attributes, word_boxes(line), line.confidence, shape)


def _text_line(
    attributes: dict[str, object],
    words: Sequence[tuple[str, Box | None]],
    confidence: float | None = None,
    shape: str = "",
) -> str:
    sure = {} if confidence is None else {"WC": f"{confidence:.4f}"}
    strings = "<SP/>".join(
        f"<String{_attributes({'CONTENT': text, **sure, **(_box(box) if box else {})})}/>"
        for word, box in words
        if (text := in_xml(word))
    )
    return f"<TextLine{_attributes(attributes)}>{shape}{strings}</TextLine>\n"


def _box(box: Box) -> dict[str, object]:
    x1, y1, x2, y2 = box
    return {"HPOS": x1, "VPOS": y1, "WIDTH": x2 - x1, "HEIGHT": y2 - y1}


def _attributes(values: dict[str, object]) -> str:
    return "".join(f" {name}={quoteattr(in_xml(str(value)))}" for name, value in values.items())
