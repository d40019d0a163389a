"""A worker as an actor: it is asked what it has to say, and told what to do with the question. It raises nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from advrun.pools import Message

SCRATCH = "ADVRUN_SCRATCH"
"""A folder on a node's own disk. Where the node's environment names one, its workers work there even if they see the results folder."""
SMALL = 100_000
"""Bytes that travel with a message; more are left with Ray, from where they are fetched."""
PREFIX = "advrun-worker-"


class Post:
    """Messages are those of a hand, of `outpost.settled`, and `lost` where it cannot go on."""

    def __init__(self) -> None:
        self._said: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._orders: queue.SimpleQueue[tuple[Message, Any]] = queue.SimpleQueue()
        self._turns: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._folder: Path | None = None

    def sees(self, place: str, content: str) -> bool:
        """Whether the driver's file is here, so that there is nothing to bring."""
        try:
            return not os.environ.get(SCRATCH) and Path(place).read_text() == content
        except (OSError, ValueError):
            return False

    def hear(self, order: Message | None, outfit: Any = None, patience: float = 1.0) -> list[Message]:
        """What was said since the last call.

        Args:
            order: what is to be done, the first with the `text` of a job; or what answers a `turn`.
            outfit: of its `Freight`.
            patience: seconds to wait for something to be said; how far it is, it says after them, and only the last of it.
        """
        if order is not None and "turn" in order:
            self._turns.put(order)
        elif order is not None:
            self._orders.put((order, outfit))
            if "text" in order:
                threading.Thread(target=self._work, daemon=True).start()
        said: list[Message] = []
        ends, is_urgent = time.monotonic() + patience, False
        with contextlib.suppress(queue.Empty):
            while True:
                message = self._said.get(timeout=0 if is_urgent else max(ends - time.monotonic(), 0))
                if said and message["kind"] == said[-1]["kind"] == "bar":
                    said.pop()
                said.append(message)
                is_urgent = is_urgent or message["kind"] != "bar"
        return said

    def end(self) -> None:
        """The process ends, in the middle of a batch too."""
        import ray

        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        ray.actor.exit_actor()

    def _work(self) -> None:
        order, outfit = self._orders.get()
        try:
            with self._made(order, outfit) as hand:
                self._said.put({"kind": "ready"})
                while True:
                    for name, chunks in order["files"].items():
                        hand.unpack(name, map(fetched, chunks))
                    hand.do(order["key"])
                    order, _ = self._orders.get()
        except BaseException as error:
            last = traceback.format_exception_only(error)[-1].strip()
            self._said.put({"kind": "lost", "key": order["key"], "why": f"cannot go on: {' '.join(last.split())}"})

    @contextlib.contextmanager
    def _made(self, order: Message, outfit: Any) -> Iterator[Any]:
        from advrun.runs.hand import made
        from advrun.runs.outpost import data_of, settled

        if order["sees"]:
            with made(order["text"], self._said.put, lambda: self._told()[0], data=data_of(outfit)) as hand:
                yield hand
        else:
            self._folder = scratch()
            first = {name: map(fetched, chunks) for name, chunks in order["first"].items()}
            with settled(order["text"], outfit, self._folder, self._said.put, self._told, stow=stowed, first=first) as outpost:
                yield outpost

    def _told(self) -> tuple[str, dict[str, Iterator[bytes]]]:
        """The answer to a `turn`, and the files that came with it."""
        order = self._turns.get()
        return order["turn"], {name: map(fetched, chunks) for name, chunks in order["files"].items()}


def fetched(chunk: Any) -> bytes:
    """The bytes that `stowed` has left with Ray."""
    if isinstance(chunk, bytes):
        return chunk
    import ray

    return ray.get(chunk)  # type: ignore[no-any-return]


def stowed(content: bytes) -> Any:
    """What of a chunk travels in a message."""
    if len(content) <= SMALL:
        return content
    import ray

    return ray.put(content)


def scratch() -> Path:
    """A new folder for this process. Folders of workers that were killed are removed: each was locked while its owner lived."""
    root = Path(os.environ.get(SCRATCH) or tempfile.gettempdir())
    root.mkdir(parents=True, exist_ok=True)
    for old in root.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), open(old / ".lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=root)).resolve()
    lock = os.open(made / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)  # open until the process ends
    return made.rename(made.with_name(made.name[1:]))  # known to others only now
