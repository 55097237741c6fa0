"""How much must be wrong before it is reported."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Thresholds:
    """Thresholds in letters, shares and counts, tuned on half of the pages that docs/check.md
    names."""

    missing_letters: int = 12
    """Least number of the witness's letters in one run that the text lacks."""

    missing_line: int = 5
    """The same where the run is a whole line."""

    unsupported_letters: int = 16
    """Least number of the text's letters in one run that the witness did not see."""

    name_alike: float = 0.75
    """Similarity, 0 to 1, below which two names are different names."""

    name_edits: int = 2
    """Least edit distance between two different names, in letters."""

    formula_digits: bool = True
    """Whether digits of formulas that were written without marks are compared."""

    short_number: int = 1
    """Two numbers with unequal counts of digits are different only if both have at least this many:
    readers overlook thin digits and misread fractions."""

    contradicted_share: float = 0.9
    """Coverage or support below which a page is contradicted."""

    contradicted_run: int = 120
    """Number of letters missing or unsupported in one place from which a page is contradicted."""

    order_jumps: int = 3
    """Least number of jumps to the column beside, in the middle of a paragraph, to be reported."""

    def scaled(self, strictness: float) -> "Thresholds":
        """The thresholds with lengths divided by `strictness`: 2 means half of each length."""
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
