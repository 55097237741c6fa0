"""`deepocr read` in a pipe: a document from standard input, its text to standard output."""

import io
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from deepocr.errors import DocumentTooLarge, InvalidInput
from deepocr.render.text_forms import TEXT_FORMS

STANDARD_INPUT = "-"

_PIECE = 1 << 20
_FIGURE = re.compile(r"!\[([^\]\n]*)\]\(images/page_\d+_\d+\.png\)")

PRINTED = {name: f"document{form.suffix}" for name, form in TEXT_FORMS.items() if name != "raw"} | {
    "markdown": "document.mmd"
}
"""Files of the forms that are a single text file in a document's folder."""


def keep_input(folder: Path, max_bytes: int) -> Path:
    """Save standard input as a file, because reading a document needs seeking. Raises
    DocumentTooLarge."""
    path = folder / "stdin"
    num_bytes = 0
    with path.open("wb") as file:
        while piece := sys.stdin.buffer.read(_PIECE):
            num_bytes += len(piece)
            if num_bytes > max_bytes:
                raise DocumentTooLarge(
                    f"standard input has more than {max_bytes:,} bytes; raise DEEPOCR_MAX_BYTES"
                )
            file.write(piece)
    return path


def refuse_files(forms: Sequence[str], **options: object) -> None:
    """Allow only one text form if there is no output folder. Raises InvalidInput."""
    asked = [f"--{name}" for name, value in options.items() if value]
    if len(forms) > 1 or not PRINTED.keys() >= set(forms):
        asked.append(f"--format {','.join(forms)}")
    if asked:
        raise InvalidInput(
            f"{asked[0]} is about files; say where with -o FOLDER "
            f"(standard output takes one --format of: {', '.join(PRINTED)})"
        )


def print_document(folder: Path, forms: Sequence[str]) -> None:
    """Print a document's text, if it was written, and remove its folder. Figures, which are files,
    are only named."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # Windows uses another encoding in pipes
    form = forms[0] if forms else "markdown"
    path = folder / PRINTED[form]
    if path.exists():
        with path.open(encoding="utf-8") as file:
            for line in file:
                named = _FIGURE.sub(r"<!-- \1: a file, with -o -->", line)
                sys.stdout.write(named if form == "markdown" else line)
        sys.stdout.flush()
    shutil.rmtree(folder)
