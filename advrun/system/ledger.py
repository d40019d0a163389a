"""What an oracle was asked and said, on disk: a budget that no restart forgets, and answers that are never paid for twice.

An image is counted before it is sent, and the count is on the disk before it is (SQLite, synchronous=FULL: an fsync for each entry). What
the service refused to look at (429, 503) is taken off again; a request that was lost on the way stays counted. A kill at any moment
therefore never spends more than the budget, and forgets at most the answer that was under way.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from advrun.errors import ModelError, WriteError, printable
from advrun.files import is_regular
from advrun.system.oracle import Answer, Oracle, Unanswered

LONGEST_WAIT = 120.0
"""Seconds; a service that wants more is asked again in another run."""
TABLES = (
    "CREATE TABLE IF NOT EXISTS spent (service TEXT PRIMARY KEY, images INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS answers "
    "(service TEXT, occasion TEXT, image BLOB, answer TEXT NOT NULL, PRIMARY KEY (service, occasion, image))",
)
NORMAL = ""
"""The occasion of ordinary questions; images are asked again, and paid again, on another one."""


class Ledger:
    """The answers of one oracle, and how many images it was sent.

    Args:
        oracle: who is asked what is not known.
        file: where it is kept, made when it is missing; None for memory alone.
        service: what tells its answers from those of other services in the same file. The budget is for all of them together.
        sleep: how to wait, in seconds.
    """

    def __init__(self, oracle: Oracle, file: Path | None = None, *, service: str = "", sleep: Callable[[float], None] = time.sleep) -> None:
        self.oracle, self.file, self.service, self._sleep = oracle, file, service, sleep
        self._lock = threading.RLock()  # TensorFlow asks from threads of its own
        self._base: Any = None

    @property
    def spent(self) -> int:
        """Images sent so far."""
        return int(self._execute("SELECT coalesce(sum(images), 0) FROM spent")[0][0])

    @property
    def left(self) -> int:
        """Images that may still be sent."""
        return max(self.oracle.limits.budget - self.spent, 0)

    def answers(self, images: np.ndarray, occasion: str = NORMAL) -> list[Answer]:
        """An answer for each image (n, height, width, channels) uint8, asked for where it is not known.

        Raises:
            ModelError: when the budget does not last, or the service does not answer.
        """
        names = [_named(image) for image in images]
        with self._lock:
            known = {name: answer for name in dict.fromkeys(names) if (answer := self._known(occasion, name)) is not None}
            rows = {name: row for row, name in enumerate(names) if name not in known}  # each image once
            missing = list(rows)
            for start in range(0, len(missing), self.oracle.batch):
                part = missing[start : start + self.oracle.batch]
                known |= self._asked({name: images[rows[name]] for name in part}, occasion)
            return [known[name] for name in names]

    def _asked(self, waiting: dict[bytes, np.ndarray], occasion: str) -> dict[bytes, Answer]:
        """The answers of the images by name, each kept as soon as it is there."""
        found: dict[bytes, Answer] = {}
        tries = self.oracle.limits.tries
        for attempt in range(1, tries + 1):
            names = list(waiting)
            self._count(len(names))
            try:
                answers = dict(enumerate(plain(self.oracle, self.oracle.ask(np.stack(list(waiting.values()))), len(names))))
                lost = None
            except Unanswered as error:
                answers, lost = {row: plain(self.oracle, [each], 1)[0] for row, each in error.answers.items()}, error
            if lost is not None and not lost.counted:
                self._count(len(answers) - len(names))
            self._keep({names[row]: answer for row, answer in answers.items()}, occasion)
            for row, answer in answers.items():
                found[names[row]] = answer
                del waiting[names[row]]
            if not waiting or lost is None:
                return found
            reason = printable(lost.reason)
            if attempt == tries:
                raise ModelError(f"{self.oracle}: {reason}; given up after {tries} tries, and what was answered is kept")
            wait = lost.wait if lost.wait is not None else min(2.0 ** (attempt - 1), 60.0)
            if wait > LONGEST_WAIT:
                raise ModelError(f"{self.oracle}: {reason}; it asks to wait {wait:,.0f} seconds: run again then, what was answered is kept")
            logging.getLogger("advrun").info("%s: %s; asked again in %g seconds", self.oracle, reason, wait)
            self._sleep(wait)
        return found

    def _count(self, images: int) -> None:
        """Count images before they are sent (or, below zero, ones that the service refused to see). Raises ModelError."""
        if images > 0 and images > self.left:
            raise ModelError(
                f"{self.oracle}: the budget of {self.oracle.limits.budget:,} images is spent ({self.spent:,} sent, {images:,} more "
                "needed); raise limits.budget and run again, what was answered is kept"
            )
        self._execute(
            "INSERT INTO spent VALUES (?, ?) ON CONFLICT (service) DO UPDATE SET images = images + excluded.images",
            [(self.service, images)],
        )

    def _known(self, occasion: str, name: bytes) -> Answer | None:
        rows = self._execute(
            "SELECT answer FROM answers WHERE service = ? AND occasion = ? AND image = ?", [(self.service, occasion, name)]
        )
        return _read(rows[0][0]) if rows else None

    def _keep(self, answers: dict[bytes, Answer], occasion: str) -> None:
        if answers:
            rows = [(self.service, occasion, name, json.dumps(answer)) for name, answer in answers.items()]
            self._execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", rows)

    def _execute(self, statement: str, rows: Sequence[Sequence[Any]] = ((),)) -> list[Any]:
        """Run a statement for each row of values, as one transaction. Raises WriteError."""
        with self._lock:
            try:
                found: list[Any] = []
                with self._open() as base:
                    for row in rows:
                        found += base.execute(statement, row).fetchall()
                return found
            except sqlite3.DatabaseError as error:
                remedy = "make room, or remove it, which forgets what was asked and what was spent"
                raise WriteError(f"{self.file}: the ledger of {self.oracle} cannot be used ({error}); {remedy}") from None

    def _open(self) -> Any:
        if self._base is None:
            if self.file is not None:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                if os.path.lexists(self.file) and not is_regular(self.file):
                    raise ModelError(f"{self.file} is a link, or no file; remove it, and run again")
            base = sqlite3.connect(self.file or ":memory:", check_same_thread=False, timeout=30.0)
            base.execute("PRAGMA synchronous = FULL")
            for table in TABLES:
                base.execute(table)
            self._base = base
        return self._base


def plain(oracle: Oracle, answers: Any, n: int) -> list[Answer]:
    """The answers as plain data: a list of numbers, a whole number, or pairs (label, score). Raises ModelError for anything else."""
    if len(answers) != n:
        raise ModelError(f"{oracle}: {len(answers)} answers came for {n} images")
    found: list[Answer] = []
    for answer in answers:
        if isinstance(answer, (int, np.integer)) or (isinstance(answer, np.ndarray) and answer.ndim == 0):
            found.append(_class(oracle, answer))
        elif oracle.classes is None:
            found.append([[str(label), _score(oracle, score)] for label, score in answer])
        else:
            scores = [_score(oracle, each) for each in answer]
            if len(scores) != oracle.classes:
                raise ModelError(f"{oracle}: an answer holds {len(scores)} scores; expected {oracle.classes}, one for each class")
            found.append(scores)
    return found


def _class(oracle: Oracle, answer: Any) -> int:
    if not 0 <= int(answer) < (oracle.classes or 0):
        raise ModelError(f"{oracle}: the answer is class {int(answer)}; it has the classes 0 to {(oracle.classes or 0) - 1}")
    return int(answer)


def _score(oracle: Oracle, score: Any) -> float:
    try:
        number = float(score)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        shown = printable(repr(score) if isinstance(score, str) else str(score))[:60]
        raise ModelError(f"{oracle}: an answer holds {shown}; expected a score, a finite number")
    return number


def _named(image: np.ndarray) -> bytes:
    """The name of an image: a hash of its shape and pixels."""
    return hashlib.blake2b(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes(), digest_size=16).digest()


def _read(text: str) -> Answer:
    return json.loads(text)
