"""How much must be wrong before it is told."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Thresholds:
    """Letters, shares and counts, set on half of the pages that docs/check.md names."""

    missing_letters: int = 12
    """Of the witness in one run that the text lacks."""

    missing_line: int = 5
    """The same where the run is a whole line."""

    unsupported_letters: int = 16
    """Of the text in one run that the witness did not see."""

    name_alike: float = 0.75
    """Likeness of two names, 0 to 1, below which they are two names."""

    name_edits: int = 2
    """Letters in which two names must differ."""

    formula_digits: bool = True
    """Whether digits of formulas that were written without marks are compared."""

    short_number: int = 1
    """Digits of a number below which one with more or fewer digits is no other number: readers
    overlook thin digits and read fractions as they can."""

    contradicted_share: float = 0.9
    """Coverage or support below which a page is contradicted."""

    contradicted_run: int = 120
    """Letters missing or unsupported at one place from which a page is contradicted."""

    order_jumps: int = 3
    """Times that a text goes on in the column beside, in the middle of a sentence."""

    def scaled(self, strictness: float) -> "Thresholds":
        """Twice as strict: half of each length is enough."""
        return replace(
            self,
            missing_letters=max(1, round(self.missing_letters / strictness)),
            missing_line=max(1, round(self.missing_line / strictness)),
            unsupported_letters=max(1, round(self.unsupported_letters / strictness)),
            name_edits=max(1, round(self.name_edits / strictness)),
        )


FOR_WITNESS = {
    "text layer": Thresholds(),
    "ppocr": Thresholds(
        missing_letters=14,
        missing_line=8,
        unsupported_letters=20,
        formula_digits=False,
        short_number=3,
    ),
}
