"""Documents in: bytes or a path become upright RGB pages, one at a time.

What a document is, is told by its first bytes, never by its name.
"""

from deepocr.documents.document import Document, DocumentKind, DocumentLimits, Limits
from deepocr.documents.opening import open_document
from deepocr.documents.processes import DocumentProcesses
from deepocr.documents.ranges import parse_page_range

__all__ = [
    "Document",
    "DocumentKind",
    "DocumentLimits",
    "DocumentProcesses",
    "Limits",
    "open_document",
    "parse_page_range",
]
