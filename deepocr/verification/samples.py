"""Documents with the text that stands on them: NAME.txt beside each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepocr.errors import InvalidInput
from deepocr.render.raw import PAGE_SPLIT
from deepocr.types import Box, Word
from deepocr.verification.text import plain

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
"""Those that come with the package."""


@dataclass(frozen=True)
class Sample:
    """`texts` are the plain reference texts of its pages, in order."""

    path: Path
    texts: tuple[str, ...]

    @property
    def phrase(self) -> str:
        """Words that stand on page 1: what Locate is asked for."""
        lines = self.path.with_suffix(".txt").read_text().splitlines()
        return plain(next((line for line in lines if line.strip()), ""))


def load_samples(folder: Path) -> list[Sample]:
    """Every document of a folder that has its text beside it. Raises InvalidInput for none."""
    samples = [
        Sample(path, read_texts(path.with_suffix(".txt")))
        for path in sorted(folder.glob("*"))
        if path.suffix != ".txt" and path.with_suffix(".txt").is_file()
    ]
    if not samples:
        raise InvalidInput(
            f"no samples in {folder}: each document needs its text beside it, such as page.png "
            "and page.txt; name a folder that has them with --samples"
        )
    return samples


def read_texts(path: Path) -> tuple[str, ...]:
    """The pages of a reference text; a line with the page separator ends each."""
    pages = [plain(part) for part in path.read_text().split(PAGE_SPLIT)]
    return tuple(pages[:-1] if len(pages) > 1 and not pages[-1] else pages)


def find_phrase(words: Sequence[Word], phrase: str) -> Box | None:
    """Where the phrase stands on a page, by the words of its text layer; None when it does not."""
    wanted = phrase.split()
    texts = [plain(word.text) for word in words]
    for start in range(len(texts) - len(wanted) + 1):
        if wanted and texts[start : start + len(wanted)] == wanted:
            boxes = [word.box_px for word in words[start : start + len(wanted)]]
            x1s, y1s, x2s, y2s = zip(*boxes, strict=True)
            return min(x1s), min(y1s), max(x2s), max(y2s)
    return None
