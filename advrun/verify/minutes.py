"""What a verification finds: one line for each thing that is not what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from advrun.errors import printable

LONGEST = 160
"""Characters of what a file says, or should say, in one line."""


@dataclass(frozen=True)
class Discrepancy:
    """file: path within the results folder, with a line number or place where there is one. says, should: in words."""

    file: str
    says: str
    should: str

    def __str__(self) -> str:
        return printable(f"{self.file}: says {self.says}; should say {self.should}")


@dataclass
class Minutes:
    """What was found, what could not be checked, and how much was.

    examples: adversarial and clean images whose outcome was checked. cells: finished ones. tables: files of `tables/` that were made again.
    """

    found: list[Discrepancy] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    examples: int = 0
    cells: int = 0
    tables: int = 0

    def find(self, file: str, says: Any, should: Any) -> None:
        """Something is not what it says. Said once."""
        entry = Discrepancy(file, shown(says), shown(should))
        if entry not in self.found:
            self.found.append(entry)

    def note(self, text: str) -> None:
        """Something could not be checked, or only in part. Said once."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def count(self) -> str:
        """How many things were found, to begin a sentence with."""
        return "1 thing is" if len(self.found) == 1 else f"{len(self.found):,} things are"

    @property
    def verdict(self) -> str:
        """The sentence about them."""
        return f"{self.count} not what {'it says' if len(self.found) == 1 else 'they say'}"

    @property
    def line(self) -> str:
        """How much was checked."""
        what = f"{self.examples:,} examples of {self.cells:,} cells, {self.tables:,} tables"
        return f"{len(self.found):,} found in {what}" if self.found else f"verified: {what}"


def shown(value: Any) -> str:
    """A value in a line."""
    text = value if isinstance(value, str) else f"{value:.10g}" if isinstance(value, (float, np.floating)) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
