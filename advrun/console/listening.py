"""Warnings on their way to the reader: those of advrun are said, the noise of the libraries below is kept for the log."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

LIBRARIES = {"tensorflow", "keras", "absl", "matplotlib", "h5py", "PIL", "google", "rich", "click", "pydantic", "scipy", "numpy"}
TECHNICAL = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ResourceWarning, ImportWarning)
"""For programmers of the libraries, not for readers of a result."""

Hear = Callable[[str, str, bool], None]
"""(text, where it comes from, whether a reader should see it)."""


class _Ear(logging.Handler):
    def __init__(self, hear: Hear) -> None:
        super().__init__(logging.NOTSET)
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        own = record.name.split(".")[0] == "advrun" and record.levelno >= logging.WARNING
        with contextlib.suppress(Exception):  # a message whose arguments do not fit: nothing that a run should die of
            self._hear(record.getMessage(), record.name, own)


@contextlib.contextmanager
def listening(hear: Hear, *, details: bool = False) -> Iterator[None]:
    """While inside, `hear` gets what is logged and what Python warns of, instead of standard error.

    details: it gets advrun's remarks below a warning too.
    """
    ear, root, own = _Ear(hear), logging.getLogger(), logging.getLogger("advrun")
    silenced = [handler for handler in root.handlers if type(handler) is logging.StreamHandler and handler.stream is sys.stderr]
    level = own.level

    def show(message: Warning | str, category: type[Warning], filename: str, *rest: Any) -> None:
        places = pairwise(Path(filename).parts)
        technical = issubclass(category, TECHNICAL) or any(
            folder in ("site-packages", "dist-packages") and library in LIBRARIES for folder, library in places
        )
        hear(" ".join(str(message).split()), category.__name__, not technical)

    for handler in silenced:
        root.removeHandler(handler)
    root.addHandler(ear)
    own.setLevel(logging.INFO if details else level)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show  # type: ignore[assignment]
            yield
    finally:
        own.setLevel(level)
        root.removeHandler(ear)
        for handler in silenced:
            root.addHandler(handler)
