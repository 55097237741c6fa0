"""`deepocr serve`: the same as `python -m deepocr.service`."""

from deepocr.service.__main__ import add_arguments, run

__all__ = ["add_arguments", "run"]
