"""Who does the cells of a run: `pools/NAME.py` holds the function NAME, which `--pool NAME` names. Nothing else lists it.

    NAME(job: Job, argument: int | None = None) -> Pool        `--pool NAME`, `--pool NAME:ARGUMENT`

The driver (`runs/schedule.py`) knows which cells are ready; a pool brings them to its workers, and what they say back. A pool knows no
cells: it carries keys to workers and messages to the driver. Wherever a worker lives, a `Hand` does its work (`runs/hand.py`); it is made
there, of text (`Job.text`), and raises nothing: a failure is a message too. So nothing needs to be pickled.

Messages are plain data, as JSON knows it. Those of a hand, of which the last of a cell is one of `ENDS`:

    {"kind": "ready"}                                            it has the data, and can begin
    {"kind": "begun", "key"}                                     from here on a death of the worker is laid to the cell
    {"kind": "bar", "label", "done", "total", "kept", "note"}    how far it is; a few times a second at most; `kept` was there already
    {"kind": "event" | "warning" | "detail", ...}                for the reader of the console
    {"kind": "turn", "key", "batches"}                           which of these shall it make? It waits until it is told
    {"kind": "done", "key", "seconds"}
    {"kind": "left", "key", "seconds"}                           others are making all that is left of the cell
    {"kind": "failed", "key", "reason", "traceback", "refused", "unwritten"}

A pool adds the number of the worker, and messages of its own, about workers that are lost:

    {"kind": "lost", "key", "why"}                               `give` starts the worker anew
    {"kind": "gone", "key", "why"}                               it is lost, and there is no room for another one
    {"kind": "back"}                                             there is room again for a worker that was gone

A worker that does not see the results folder is sent what it needs, and sends what it makes: `Freight`.

A pool may lose workers, and the driver may die: workers that hear nothing more of it end themselves. What a cell had done is among its
checkpoints.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_type_hints

from advrun.errors import ConfigError, did_you_mean

Message = dict[str, Any]
Send = Callable[[Message], None]
ENDS = ("done", "left", "failed")
"""Messages with which a hand ends a cell."""


class Hand(Protocol):
    """Does the cells of one worker, one after the other."""

    def do(self, key: str) -> None:
        """Do the cell of this key, and send its messages. Raises nothing but KeyboardInterrupt."""


class Freight(Protocol):
    """What travels between the driver and workers that do not see its files. Names are those of files in the results folder."""

    results: Path

    def outfit(self) -> dict[str, Any]:
        """What each worker needs, once: plain data, bytes and arrays, of which `runs.outpost.settled` makes a hand."""

    def needed(self, key: str | None) -> Mapping[str, str]:
        """The files that a cell needs, its checkpoints among them, each with a text that changes when its bytes do; for None those that a
        worker needs to begin. Raises ConfigError where a worker cannot work without the folder."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file. Raises OSError and AdvrunError."""

    def bring(self, key: str, name: str, chunks: Iterable[bytes]) -> None:
        """Write a file that the worker of a cell has sent; its manifest comes last. Raises AdvrunError where it cannot be written, or is
        not what the manifest says."""

    def finish(self, key: str) -> None:
        """The cell is done: its checkpoints are not needed any more."""

    def log(self, line: str) -> None:
        """A line of a worker's log."""


@dataclass(frozen=True)
class Job:
    """What the workers of a pool are for.

    text: JSON that `runs.hand.made` makes a hand of, in any process that sees the results folder. here: makes one in this process, from
    what is loaded already. useful: more workers than this are never busy. room: bytes of memory that a worker needs for the data.
    freight: makes what carries files, for workers elsewhere.
    """

    text: str
    here: Callable[[Send], Hand]
    useful: int
    room: int = 0
    freight: Callable[[], Freight] | None = None


class Pool(Protocol):
    """Workers, numbered from 0. None is started, and nothing reserved, before the first `give`."""

    size: int

    def give(self, worker: int, key: str) -> None:
        """The worker, which is idle, shall do the cell of this key, perhaps with others. Returns at once; starts it if there is none."""

    def tell(self, worker: int, turn: str) -> None:
        """Answer the `turn` of a worker: the batch that it shall make now, or "". By then it sees what others have made of the cell."""

    def hear(self, seconds: float) -> list[Message]:
        """What workers have said since the last call, in the order in which each said it; waits so long for the first of it."""

    def close(self) -> None:
        """End all workers at once. What they had begun is among the checkpoints."""


def names() -> list[str]:
    """Names of the pools, sorted; imports none."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_"))


def chosen(text: str) -> tuple[str, Any]:
    """`processes:4` as its name and its argument, of the type that the function's second parameter has; None without one.

    Raises:
        ConfigError: for an unknown name, or an argument that is missing, not wanted, or no positive number where a number is meant.
    """
    name, colon, argument = text.partition(":")
    if name not in names():
        raise ConfigError(f"pool {text!r}: {name!r} is unknown{did_you_mean(name, names())}")
    if not colon:
        return name, None
    parameters = list(inspect.signature(function(name)).parameters)
    if len(parameters) < 2:
        raise ConfigError(f"pool {text!r}: {name} takes nothing after a colon; write {name}")
    if get_type_hints(function(name))[parameters[1]] in (str, str | None):
        if not argument:
            raise ConfigError(f"pool {text!r}: nothing after the colon; write {name}:{parameters[1].upper()}")
        return name, argument
    if not (argument.isascii() and argument.isdigit() and 0 < int(argument) <= 4096):
        raise ConfigError(f"pool {text!r}: got {argument!r} {parameters[1]}; expected a whole number from 1 to 4096, as in {name}:2")
    return name, int(argument)


def function(name: str) -> Callable[..., Pool]:
    """What makes a pool of this name."""
    made: Callable[..., Pool] = getattr(importlib.import_module(f"advrun.pools.{name}"), name)
    return made


def size(text: str, useful: int, room: int) -> int:
    """How many workers the pool would have; useful, room: as of a `Job`. Starts none."""
    pool = opened(text, Job("", _never, useful, room))
    try:
        return pool.size
    finally:
        pool.close()


def _never(send: Send) -> Hand:
    raise NotImplementedError("no worker of a pool that is only measured")


def opened(text: str, job: Job) -> Pool:
    """The pool that `text` names, such as `processes:4`. Raises ConfigError, as `chosen` does."""
    name, argument = chosen(text)
    return function(name)(job) if argument is None else function(name)(job, argument)
