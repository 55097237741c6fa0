"""Documents inside JSON, base64 or data URLs: decoded, and moved into files.

`move_documents` runs in a process of its own: JSON of 64 MB keeps the interpreter's lock for
seconds, and may become gigabytes of lists.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepocr.errors import DocumentTooLarge, InvalidInput

LONG_CHARS = 4096
"""Texts longer than this are treated as documents."""

MAX_REST_BYTES = 256 << 10
"""Most bytes that may be left without the documents: this part is parsed in the event loop."""


def decode_base64(text: str) -> bytes:
    """Strict, but for white space. Raises InvalidInput."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"the document is not valid base64: {error}") from error


def decode_data_url(url: str) -> bytes:
    """Raises InvalidInput."""
    head, comma, body = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise InvalidInput("the data URL must hold ';base64,' before its content")
    return decode_base64(body)


def move_documents(body: Path, mark: str) -> tuple[bytes, dict[str, str]]:
    """The JSON without its long texts, and what is wrong with each of these, or "".

    A long text is decoded into a file beside the body whose name begins with `mark`, and the name
    stands in its place. Raises InvalidInput for what is no JSON, DocumentTooLarge for too much of
    it, OSError.
    """
    try:
        content = json.loads(body.read_bytes())
        faults: dict[str, str] = {}
        for place, key, text in _long_texts(content):
            name = f"{mark}-{len(faults)}"
            place[key] = name
            try:
                decoded = (decode_data_url if text.startswith("data:") else decode_base64)(text)
                (body.parent / name).write_bytes(decoded)
                faults[name] = ""
            except InvalidInput as error:
                faults[name] = str(error)
        rest = json.dumps(content).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidInput("the request is not JSON") from error
    if len(rest) > MAX_REST_BYTES:
        raise DocumentTooLarge(
            f"the JSON has more than {MAX_REST_BYTES:,} bytes beside its documents; send less"
        )
    return rest, faults


def _long_texts(content: Any) -> Iterator[tuple[Any, Any, str]]:
    """The position of each: its list or object, and its index or key there."""
    waiting = [content]
    while waiting:
        place = waiting.pop()
        if not isinstance(place, dict | list):
            continue
        for key, value in place.items() if isinstance(place, dict) else enumerate(place):
            if isinstance(value, str) and len(value) > LONG_CHARS:
                yield place, key, value
            elif isinstance(value, dict | list):
                waiting.append(value)
