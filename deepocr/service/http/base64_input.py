"""Documents inside JSON: base64 and data URLs."""

import base64
import binascii

from deepocr.errors import InvalidInput
from deepocr.service.http.uploads import save_bytes
from deepocr.service.http.waiting import IncomingDocument


def decode_base64(text: str) -> bytes:
    """Strict, but for white space. Raises InvalidInput."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"the document is not valid base64: {error}") from error


def source_of(url: str, name: str) -> IncomingDocument:
    """A data URL's bytes, or an http(s) URL to fetch. Raises InvalidInput for anything else."""
    if url.startswith("data:"):
        head, comma, body = url.partition(",")
        if not comma or not head.endswith(";base64"):
            raise InvalidInput("the data URL must hold ';base64,' before its content")
        return IncomingDocument(name, save_bytes(decode_base64(body)))
    if url.startswith(("http://", "https://")):
        return IncomingDocument(name, url=url)
    raise InvalidInput(f"the URL {url[:40]!r} must begin with data:, http:// or https://")
