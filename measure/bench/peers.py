"""Other ways to read a page: the library called directly, Tesseract."""

import subprocess
from collections.abc import Callable
from shutil import which
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Reader = Callable[[Image.Image], str]
"""A page picture to its text."""

TESSERACT_TIMEOUT_S = 600


def rapidocr_reader() -> Reader:
    """rapidocr as its documentation has it: one call a page, lines joined as they come."""
    from rapidocr import RapidOCR

    reader: Any = RapidOCR(params={"Global.log_level": "error"})

    def read(image: Image.Image) -> str:
        picture: npt.NDArray[np.uint8] = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])
        return "\n".join(reader(picture).txts or ())

    return read


def tesseract_reader() -> Reader | None:
    """Tesseract's own page segmentation; None where the program is not installed."""
    program = which("tesseract")
    if program is None:
        return None

    def read(image: Image.Image) -> str:
        with subprocess.Popen(
            [program, "stdin", "stdout", "--dpi", "144"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            if process.stdin is None:
                raise RuntimeError("tesseract takes no input")
            image.save(process.stdin, format="PPM")
            output, _ = process.communicate(timeout=TESSERACT_TIMEOUT_S)
        return output.decode("utf-8", "replace")

    return read
