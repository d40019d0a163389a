"""A summary in Markdown where CI shows it: appended to `--summary FILE`, else to the file that GitHub names in GITHUB_STEP_SUMMARY."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from advrun.errors import WriteError

VARIABLE = "GITHUB_STEP_SUMMARY"
MOST = 1000 << 10
"""Bytes of one step; GitHub shows up to 1 MiB, and nothing of what is longer."""
CUT = "\n\n(The rest is left out here, for it is too long.)\n"


def add(text: str, given: Path | None, warn: Callable[[str], None]) -> None:
    """Append the text, where a place for it is given or set.

    Args:
        text: Markdown, cut at the end of a line where the file would become too long.
        given: a file; None for that of the environment, if any.
        warn: told where the file of the environment cannot be written; that is no reason to fail.

    Raises:
        WriteError: where `given` cannot be written.
    """
    place = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if place is None:
        return
    place = Path(os.path.expanduser(place))
    try:
        with open(place, "ab") as file:
            file.write(fitting(text, MOST - file.tell()))
    except (OSError, ValueError) as error:
        reason = f"{place}: the summary cannot be written ({getattr(error, 'strerror', None) or error})"
        if given is not None:
            raise WriteError(f"{reason}; give --summary another file") from error
        warn(f"{reason}; {VARIABLE} names it")


def fitting(text: str, most: int) -> bytes:
    """The text and an empty line, at most so many bytes."""
    content = text.encode(errors="backslashreplace") + b"\n"
    if len(content) <= most:
        return content
    cut = CUT.encode()
    if most < len(cut):
        return b""
    return content[: most - len(cut)].rpartition(b"\n")[0] + cut
