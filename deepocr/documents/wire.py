"""Messages between a process that draws and the one that asks it: JSON, and pixels as they are.

Nothing that comes from a document is unpickled: a drawing process may be in the hands of the file
that it opened.
"""

import json
import mmap
import socket
import struct
from collections.abc import Iterator
from typing import Any

from PIL import Image

Header = dict[str, Any]
Message = tuple[Header, Image.Image | None]

# of the header in bytes, and of the picture in pixels; both 0 for none
_SIZES = struct.Struct(">QII")

MAX_HEADER_BYTES = 64 << 20

PART_BYTES = 16 << 20
"""Pixels of larger pages come in parts, so that they are never in memory twice."""


def send(connection: socket.socket, header: Header, picture: Image.Image | None = None) -> None:
    """A header and an RGB picture. Blocking. Raises OSError when nobody listens any more."""
    encoded = json.dumps(header).encode()
    size_px = (0, 0) if picture is None else picture.size
    connection.sendall(_SIZES.pack(len(encoded), *size_px) + encoded)
    if picture is not None:
        for top, bottom in _parts(*size_px):
            connection.sendall(picture.crop((0, top, size_px[0], bottom)).tobytes())


def receive(connection: socket.socket, max_pixels: int = 0) -> Message:
    """Blocking, with the interpreter's lock released. Raises EOFError when the other side is gone,
    BlockingIOError after the socket's SO_RCVTIMEO, ValueError for what is no message."""
    sizes = bytearray(_SIZES.size)
    _fill(connection, memoryview(sizes))
    num_header, width_px, height_px = _SIZES.unpack(sizes)
    if num_header > MAX_HEADER_BYTES or width_px * height_px > max_pixels:
        raise ValueError(f"a message of {num_header} bytes, {width_px} x {height_px} pixels")
    encoded = bytearray(num_header)
    _fill(connection, memoryview(encoded))
    header = json.loads(encoded)
    if not isinstance(header, dict):
        raise ValueError("a message without a header")
    if not width_px * height_px:
        return header, None
    return header, _receive_picture(connection, width_px, height_px)


def _receive_picture(connection: socket.socket, width_px: int, height_px: int) -> Image.Image:
    # neither a bytearray nor a color: filling them would hold the interpreter's lock
    picture = Image.new("RGB", (width_px, height_px), None)
    buffer: memoryview | None = None
    for top, bottom in _parts(width_px, height_px):
        buffer = buffer or memoryview(mmap.mmap(-1, 3 * width_px * (bottom - top)))
        pixels = buffer[: 3 * width_px * (bottom - top)]
        _fill(connection, pixels)
        if bottom - top == height_px:
            picture.frombytes(pixels)
        else:
            part = Image.new("RGB", (width_px, bottom - top), None)
            part.frombytes(pixels)
            picture.paste(part, (0, top))
    return picture


def _parts(width_px: int, height_px: int) -> Iterator[tuple[int, int]]:
    """First row and the one after the last."""
    rows = max(1, PART_BYTES // (3 * width_px))
    for top in range(0, height_px, rows):
        yield top, min(top + rows, height_px)


def _fill(connection: socket.socket, view: memoryview) -> None:
    done = 0
    while done < len(view):
        # one call for all of it: each return to Python may wait for a busy thread
        received = connection.recv_into(view[done:], 0, socket.MSG_WAITALL)
        if not received:
            raise EOFError
        done += received
