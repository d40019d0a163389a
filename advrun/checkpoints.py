"""Checkpoints of work that is not finished, so that a kill loses at most one batch or one epoch."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from advrun.files import write_bytes

CHECKPOINT_SECONDS = 1.0
"""Checkpoints closer together than this are put off: a kill loses at most one batch, or this much work."""


class Checkpoints:
    """Numbered checkpoints of one unfinished cell: mappings of arrays, each in a file of its own.

    `put` keeps what comes in quick succession in memory, and writes it once `CHECKPOINT_SECONDS` have passed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pending: dict[str, Mapping[str, np.ndarray]] = {}
        self._last_write = time.monotonic()

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays put under `name`, or None. A file that cannot be read counts as not there."""
        path = self.folder / f"{name}.npz"
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None

    def put(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        self._pending[name] = arrays
        if time.monotonic() - self._last_write >= CHECKPOINT_SECONDS:
            self.flush()

    def flush(self) -> None:
        for name, arrays in self._pending.items():
            buffer = io.BytesIO()
            np.savez(buffer, **dict(arrays))  # type: ignore[arg-type]  # numpy's stub: allow_pickle
            write_bytes(self.folder / f"{name}.npz", buffer.getvalue())
        self._pending.clear()
        self._last_write = time.monotonic()

    def clear(self) -> None:
        """The cell is finished: forget its checkpoints."""
        self._pending.clear()
        if self.folder.is_dir():
            for file in self.folder.iterdir():
                file.unlink()
            self.folder.rmdir()
