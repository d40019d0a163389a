"""Figures in processes of their own, while this one writes the tables and the page.

Half of the time of a figure goes into the fonts of its PDF, which is read by programs that know no others (`pdf.fonttype`).
"""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from advrun.pools._machine import cores
from advrun.report.style import Picture, picture

if TYPE_CHECKING:
    from advrun.report.figures import Drawing

WORTH = 5
"""Figures for which one process more is begun: to load matplotlib takes it as long as two of them."""
CODE = str(Path(__file__).parents[2])
"""The folder of this package: they run the same code."""


class Easel:
    """The pictures of these drawings, in their order; whoever looks at them waits for them. While inside, they are being drawn.

    What a process could not do, because it was killed or cannot be begun at all, is done here.
    """

    def __init__(self, drawings: Sequence[Drawing], families: Sequence[str]) -> None:
        self._drawings, self._families = drawings, families
        self._workers = min(cores(), len(drawings) // WORTH) if cores() > 1 and sys.executable else 0
        self._begun: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
        self._open = ExitStack()

    def __enter__(self) -> Easel:
        for worker in range(self._workers):
            said = self._open.enter_context(tempfile.TemporaryFile())
            with tempfile.TemporaryFile() as asked:
                pickle.dump((self._drawings[worker :: self._workers], self._families), asked)
                asked.seek(0)
                environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (CODE, os.environ.get("PYTHONPATH"))))}
                command = [sys.executable, "-m", __name__]
                process = subprocess.Popen(command, stdin=asked, stdout=said, stderr=subprocess.DEVNULL, env=environment)
            self._open.callback(process.wait)
            self._open.callback(process.kill)
            self._begun.append((process, said))
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def __iter__(self) -> Iterator[Picture]:
        return iter(self._pictures)

    @cached_property
    def _pictures(self) -> list[Picture]:
        pictures: dict[int, Picture] = {}
        for worker, (process, said) in enumerate(self._begun):
            if process.wait() == 0:
                said.seek(0)
                made, records = pickle.load(said)
                pictures |= dict(zip(range(worker, len(self._drawings), self._workers), made, strict=True))
                for record in records:
                    logging.getLogger(record.name).handle(record)
        return [pictures.get(place) or one(drawing, self._families) for place, drawing in enumerate(self._drawings)]


def one(drawing: Drawing, families: Sequence[str]) -> Picture:
    """The picture of a drawing."""
    kind, name, draw = drawing
    return picture(draw, name, kind, families)


class _Heard(logging.Handler):
    """What is logged, and what Python warns of, in a form that can be sent."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        self.records.append(record)


def main() -> None:
    """Draw what standard input asks for, and answer with the pictures and what was logged."""
    heard: Any = _Heard()
    logging.getLogger().addHandler(heard)
    logging.captureWarnings(True)
    drawings, families = pickle.load(sys.stdin.buffer)
    pickle.dump(([one(drawing, families) for drawing in drawings], heard.records), sys.stdout.buffer)


if __name__ == "__main__":
    main()
