"""Everything advrun refuses, as one tree; `cli.py` alone turns it into a line on stderr and an exit code.

    AdvrunError             1   anything else that has a reason
    |-- ConfigError         3   the YAML file, a --set override, or a setting given in Python
    |-- DataError           4   images or labels that are missing, damaged or of the wrong kind
    |-- ModelError          5   a model that cannot be loaded, or that has no logits
    |   `-- UnboundedError  5   a bound cannot be had of such a system; in a run it is told in its place of the table
    |-- BudgetError         6   an attack returned images outside the box or the ball, or NaN
    |-- LockError           7   another process is writing the same results folder
    |-- CellError           8   some cells of the run failed; the others are done and kept
    |   `-- WriteError      8   a result cannot be written: the disk is full, say; the run stops, and goes on when there is room
    |-- DownloadError       9   no mirror gave the right bytes
    |-- PluginError        10   a file in attacks/, defenses/, ... breaks the contract
    |-- TamperedError      11   results that are not what they say: `advrun verify` found it
    `-- GateError          12   everything is done, and a number is under what `--fail-under` asks for, or flagged with `--fail-on-flags`

Where the only cause of failed cells is a model file of the user's own, the run ends with the error of that file, not with CellError.
Exit code 2 is click's own, for a wrong command line: what no configuration could make right (`options.Read`);
130 is Ctrl-C, SIGTERM or SIGHUP; 141 is a reader who has gone (`advrun report | head -1`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

GOES_ON = "what was finished is kept, and the same command goes on from there"
"""The end of the line that an interrupted command prints."""


class AdvrunError(Exception):
    """Base of all errors with a reason that a person can act on. The message is one line: place, value, remedy."""

    exit_code = 1


class ConfigError(AdvrunError):
    """The YAML file, a --set override, or a setting given in Python."""

    exit_code = 3


class DataError(AdvrunError):
    """Images or labels that are missing, damaged or of the wrong kind. What files call themselves stays within its one line."""

    exit_code = 4

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class ModelError(AdvrunError):
    """A model that cannot be loaded, or that has no logits."""

    exit_code = 5


class UnboundedError(ModelError):
    """A bound cannot be had of such a system: it has a layer, say, that the bound knows nothing of."""


class BudgetError(AdvrunError):
    """An attack returned images outside the box or the ball, or NaN."""

    exit_code = 6


class LockError(AdvrunError):
    """Another process is writing the same results folder."""

    exit_code = 7


class CellError(AdvrunError):
    """Some cells of the run failed; the others are done and kept."""

    exit_code = 8


class WriteError(CellError):
    """A result cannot be written: the disk is full, or the folder may not be written."""


class DownloadError(AdvrunError):
    """No mirror gave the right bytes."""

    exit_code = 9

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class PluginError(AdvrunError):
    """A plugin file breaks the contract."""

    exit_code = 10


class GateError(AdvrunError):
    """A number is under what a gate asks for, or flagged where that counts; a line for each. Everything else went well."""

    exit_code = 12


class TamperedError(AdvrunError):
    """Results that are not what they say."""

    exit_code = 11


class AdvrunWarning(UserWarning):
    """Python's warning where a table would flag: a number that is there, and that should not be believed as it is."""


UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories: control characters, bytes that are no text, ends of lines and of paragraphs."""
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""What lets a terminal write the rest of a line backwards."""


def printable(text: str) -> str:
    """The text on one line: control characters and bytes that are no text are escaped, as in `a\\nb`."""
    return "".join(_escaped(each) if unicodedata.category(each) in UNPRINTABLE or each in TURNING else each for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'eps'?"` for the known name nearest to `name`, else the sorted list of known names."""
    known = sorted(known)
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""
