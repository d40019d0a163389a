"""The side of a worker that does not see the results folder: it works in a folder of its own, and sends on what it makes there."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advrun import folders
from advrun.data import Dataset
from advrun.files import atomic, inside, opened, read_json, write_bytes
from advrun.pools import ENDS, Message, Send
from advrun.runs.freight import CHUNK, folder_contents
from advrun.runs.hand import CellHand, made

LOOK = 0.2
"""Seconds between two looks for checkpoints: what the driver has not got is lost with the node."""


def data_of(outfit: Mapping[str, Any]) -> Dataset | None:
    """The data set of what `CellFreight.outfit` gives; None where it must be read here."""
    return None if outfit["data"] is None else Dataset(**outfit["data"])


@contextmanager
def settled(
    text: str,
    outfit: Mapping[str, Any],
    folder: Path,
    send: Send,
    told: Callable[[], tuple[str, Mapping[str, Iterable[bytes]]]],
    *,
    stow: Callable[[bytes], Any],
    first: Mapping[str, Iterable[bytes]],
) -> Iterator[Outpost]:
    """A hand that works in the folder, which becomes the working directory of this process. Raises AdvrunError.

    Args:
        text: of a `Job`.
        outfit: what `CellFreight.outfit` gives.
        folder: empty; what the cells need is written under `results` in it.
        send: what it says goes there; besides the messages of a hand {"kind": "file", "key", "name", "chunks"} for each file, before the
            `done` of its cell, and {"kind": "log", "line"}.
        told: waits for the answer to a `turn`, and for files of the cell that came with it.
        stow: makes of a chunk of a file what travels in such a message.
        first: files of the results folder that a worker needs to begin, by name.
    """
    os.chdir(folder)  # the configuration names its files from here
    for name, content in outfit["files"].items():
        write_bytes(inside(folder, name), content.tobytes())
    known = [folder_contents(each) for each in folders.own()]  # a package that is installed here, too
    plugins = []
    for number, files in enumerate(outfit["plugins"]):
        if files not in known:
            plugins.append(str(folder / f"plugins/{number}"))
            for name, content in files.items():
                write_bytes(inside(folder, f"plugins/{number}/{name}"), content)
    outpost = Outpost(folder / "results", send, stow)
    for name, chunks in first.items():
        outpost.unpack(name, chunks)

    def turn() -> str:
        mine, files = told()
        for name, chunks in files.items():
            outpost.unpack(name, chunks)
        return mine

    there = {"config": outfit["config"], "results": str(folder / "results"), "plugins": plugins}
    with made(json.dumps(json.loads(text) | there), outpost.hear, turn, data=data_of(outfit)) as outpost.hand:
        yield outpost


class Outpost:
    """Does cells by their keys, as `CellHand` does, and sends their files: checkpoints as they are written, the rest when they are done."""

    hand: CellHand

    def __init__(self, results: Path, send: Send, stow: Callable[[bytes], Any]) -> None:
        self.results, self._send, self._stow = results, send, stow
        self._key = ""
        self._over = threading.Event()
        self._watching = threading.Thread()
        self._sent: dict[str, tuple[int, int, int]] = {}
        self._logged = 0

    def unpack(self, name: str, chunks: Iterable[bytes]) -> None:
        """A file that a cell needs. Raises WriteError."""
        with atomic(inside(self.results, name)) as temporary:
            with temporary.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            self._sent[name] = _state(temporary)  # it came from the driver

    def do(self, key: str) -> None:
        self._key, self._over = key, threading.Event()
        self._sent = {name: _state(self.results / name) for name in self._checkpoints()}
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()
        self.hand.do(key)

    def hear(self, message: Message) -> None:
        """What the hand says. The end of a cell is told after its files were sent."""
        if message["kind"] in ENDS and self._watching.is_alive():
            self._over.set()
            self._watching.join()
            self._look()
            try:
                for name in self._left() if message["kind"] == "done" else ():
                    self._file(name)
            except (OSError, ValueError, KeyError) as error:
                reason = f"what it made cannot be sent ({error}); run again"
                message = {"kind": "failed", "key": self._key, "reason": reason, "traceback": "", "refused": False, "unwritten": False}
        self._send(message)

    def _left(self) -> list[str]:
        """The files of the cell, its manifest last."""
        name = f"manifests/{self.hand.cells[self._key].stem}.json"
        return [*read_json(self.results / name)["files"], name]

    def _watch(self) -> None:
        while not self._over.wait(LOOK):
            self._look()

    def _look(self) -> None:
        """Send the checkpoints that are new, and the new lines of the log."""
        for name in self._checkpoints():
            try:
                state = _state(self.results / name)
                if self._sent.get(name) != state:
                    self._file(name)
                    self._sent[name] = state
            except OSError:  # the cell is just finished, or the file replaced by the next
                continue
        try:
            with opened(self.results / "log.jsonl") as file:
                file.seek(self._logged)
                lines = file.read()
        except OSError:
            return
        whole = lines[: lines.rfind(b"\n") + 1]
        self._logged += len(whole)
        for line in whole.decode(errors="surrogateescape").splitlines():
            self._send({"kind": "log", "line": line})

    def _checkpoints(self) -> list[str]:
        """Those of the cell; what `Checkpoints` keeps of before serves where a disk is damaged, and is not sent."""
        found = sorted(self.results.glob(f"partial/{self._key}/[!.]*.npz"))
        return [file.relative_to(self.results).as_posix() for file in found if not file.stem.endswith(".before")]

    def _file(self, name: str) -> None:
        with opened(inside(self.results, name)) as file:
            chunks = [self._stow(chunk) for chunk in iter(lambda: file.read(CHUNK), b"")]
        self._send({"kind": "file", "key": self._key, "name": name, "chunks": chunks})


def _state(file: Path) -> tuple[int, int, int]:
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
