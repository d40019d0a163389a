"""The nodes of a Ray cluster: an actor for each worker, and no shared disk needed. `pip install 'advrun[ray]'`"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from advrun.errors import AdvrunError, ConfigError, WriteError
from advrun.files import write_text
from advrun.pools import ENDS, Freight, Job, Message, Pool
from advrun.pools._cluster import Cluster
from advrun.pools._post import Post, fetched, stowed

ENDING = 2.0
"""Seconds in which actors may clean up behind themselves."""
LOOK = 2.0
"""Seconds between two looks at the nodes, while a worker waits for room on one."""
ANSWERS = 200
"""Workers' answers that a driver has time for in a second, beside its own work (measured: 1 ms each with a thousand workers)."""
DIED, SILENT = "was on a node that died", "does not answer any more"
KEPT = 64
"""Files that are kept with Ray for the next worker that needs them."""


def ray(job: Job, address: str | None = None) -> Pool:
    """Workers wherever a cluster has a core and memory for one (and a GPU, where it has GPUs).

    Each worker keeps the system of its last cell, as in every pool. Where it does not see the results folder, the files that a cell needs
    are brought to it, each once, and what it makes is sent back as it is made; images travel as arrays, once for each node. Nothing is
    detached: when the driver dies, Ray ends the actors, and the next run begins with what is in the results folder.

    Args:
        job: what they are for.
        address: HOST:PORT of a cluster that this machine belongs to, or ray://HOST:PORT of one elsewhere; by default that of RAY_ADDRESS,
            or the one that runs on this machine, or else one that is started for this run.
    """
    return _Ray(job, Cluster(address, job.room))


class _Ray:
    def __init__(self, job: Job, cluster: Cluster) -> None:
        self.size = max(min(cluster.capacity(), job.useful), 1)
        self._job, self._cluster = job, cluster
        self._workers: dict[int, _Worker] = {}
        self._gone: dict[int, str] = {}
        """Workers for which there is no room any more."""
        self._said: list[Message] = []
        self._cargo: _Cargo | None = None
        self._looked = 0.0

    def give(self, worker: int, key: str) -> None:
        if self._cargo is None:
            self._begin()
        if worker not in self._workers:
            self._workers[worker] = _Worker(worker, self._cluster, self._cargo, max(self.size / ANSWERS, 1.0))
        self._workers[worker].key = self._workers[worker].due = key

    def tell(self, worker: int, turn: str) -> None:
        if worker in self._workers:
            self._workers[worker].turn = turn

    def hear(self, seconds: float) -> list[Message]:
        said, self._said = self._said, []
        said += self._looked_for_room()
        asked: dict[Any, _Worker] = {}
        for worker in tuple(self._workers.values()):
            try:
                worker.ask(self._job)
            except (OSError, AdvrunError) as error:
                if isinstance(error, ConfigError):
                    raise
                said.append({"worker": worker.number, **_failed(worker.key or "", error)})
                self._lost(worker, "")  # it waits for what cannot be brought
            if worker.answer is not None:
                asked[worker.answer] = worker
        wait = self._cluster.ray.wait
        ready, _ = wait(list(asked), num_returns=1, timeout=0 if said else seconds) if asked else ([], [])
        if ready:
            ready, _ = wait(list(asked), num_returns=len(asked), timeout=0)
        for answer in ready:
            said += self._heard(asked[answer])
        return said

    def close(self) -> None:
        library, workers = self._cluster.ray, list(self._workers.values())
        try:
            ends = [worker.actor.end.remote() for worker in workers if worker.sees is not None]
            if ends:
                library.wait(ends, num_returns=len(ends), timeout=ENDING)
            for worker in workers:
                library.kill(worker.actor)
        except library.exceptions.RayError:  # whatever is left ends with its driver
            pass
        finally:
            if self._cargo is not None:
                self._cargo.close()
            self._cluster.close()

    def _begin(self) -> None:
        if self._job.freight is None:
            raise ConfigError("pool ray: nothing says what its workers need")
        self._cluster.start(self.size)
        self._cargo = _Cargo(self._cluster.ray, self._job.freight())
        nodes = self._cluster.nodes()
        workers = f"{self.size} worker{'s' * (self.size > 1)} on {nodes} node{'s' * (nodes > 1)}"
        self._said.append({"kind": "event", "event": "ray", "details": {"label": f"{workers} of {self._cluster.name}"}, "worker": 0})

    def _heard(self, worker: _Worker) -> Iterator[Message]:
        """What a worker has said, as far as it concerns the driver; its files are written."""
        errors = self._cluster.ray.exceptions.RayError
        try:
            said = worker.heard()
            for message in said:
                if self._workers.get(worker.number) is worker:
                    yield from self._passed(worker, message)
        except errors as error:
            lost = self._lost(worker, _why(error))
            if worker.sees is None and lost["why"] in (DIED, SILENT):  # it was placed on a node of which nobody knew yet that it is dead
                self.give(worker.number, lost["key"])
            else:
                yield lost

    def _passed(self, worker: _Worker, message: Message) -> Iterator[Message]:
        cargo, key = worker.cargo, message.get("key", "")
        if message["kind"] == "lost":
            yield self._lost(worker, message["why"])
        elif message["kind"] == "log":
            cargo.freight.log(message["line"])
        else:
            try:
                if message["kind"] == "file":
                    cargo.freight.bring(key, message["name"], map(fetched, message["chunks"]))
                    worker.known.add(message["name"])
                    return
                if message["kind"] == "done" and not worker.sees:
                    cargo.freight.finish(key)
            except AdvrunError as error:
                self._lost(worker, "")  # whatever it does yet is of no use
                message = _failed(key, error)
            if message["kind"] in ENDS:
                worker.key = None
            yield {**message, "worker": worker.number}

    def _lost(self, worker: _Worker, why: str, kind: str = "lost") -> Message:
        del self._workers[worker.number]
        with contextlib.suppress(self._cluster.ray.exceptions.RayError):
            self._cluster.ray.kill(worker.actor)
        return {"kind": kind, "worker": worker.number, "key": worker.key, "why": why}

    def _looked_for_room(self) -> Iterator[Message]:
        """Workers that wait for a place on a node that is no more are given up, until there is one again."""
        waiting = [worker for worker in self._workers.values() if worker.sees is None]
        if not (waiting or self._gone) or time.monotonic() - self._looked < LOOK:
            return
        self._looked = time.monotonic()
        room = self._cluster.capacity() - len(self._workers)
        for worker in waiting[:-room] if room < 0 else ():
            self._gone[worker.number] = "was on a node that is gone, and no other has room for it"
            yield self._lost(worker, self._gone[worker.number], "gone")
        while room > 0 and self._gone:
            yield {"kind": "back", "worker": self._gone.popitem()[0]}
            room -= 1


class _Cargo:
    """What is with Ray for workers to fetch: the images and what else each needs, and files of the results folder."""

    def __init__(self, library: Any, freight: Freight) -> None:
        self.ray, self.freight = library, freight
        self.probe = freight.results / f".probe.{os.getpid()}.tmp"  # what is left of it, the next run tidies away
        self.content = secrets.token_hex(16)
        write_text(self.probe, self.content)
        self.outfit = library.put(freight.outfit())
        self._kept: OrderedDict[tuple[str, str], list[Any]] = OrderedDict()

    def files(self, key: str | None, known: set[str]) -> dict[str, list[Any]]:
        """By name, what a cell needs beyond the files that its worker knows."""
        return {name: self._chunks(name, version) for name, version in self.freight.needed(key).items() if name not in known}

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.probe.unlink()

    def _chunks(self, name: str, version: str) -> list[Any]:
        if (name, version) not in self._kept:
            self._kept[name, version] = list(map(stowed, self.freight.chunks(name)))
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return self._kept[name, version]


class _Worker:
    """An actor, of which one question is open at a time."""

    def __init__(self, number: int, cluster: Cluster, cargo: Any, patience: float) -> None:
        self.number, self.cargo, self._patience = number, cargo, patience
        self.actor = cluster.actor(Post)
        self.sees: bool | None = None
        """Whether it sees the results folder; None while it is not there yet."""
        self.key: str | None = None
        """The cell that it has."""
        self.due: str | None = None
        """The same, while it has not been told."""
        self.turn: str | None = None
        """What it has asked for, while it has not been told."""
        self.known: set[str] = set()
        """Files of the results folder that it has."""
        self.answer: Any = self.actor.sees.remote(str(cargo.probe), cargo.content)
        self._has_begun = False

    def ask(self, job: Job) -> None:
        """Ask what it has to say, and tell it what to do, unless it is being asked, or has nothing to do. Raises OSError and AdvrunError
        where a file that it needs cannot be read."""
        if self.answer is not None or self.key is None:
            return
        order, outfit, due = None, None, self.due
        if due is not None:
            self.due = None
            order = {"key": due, "sees": self.sees, "files": {} if self.sees else self._files(due)}
            if not self._has_begun:
                order |= {"text": job.text, "first": {} if self.sees else self._files(None)}
                self._has_begun, outfit = True, self.cargo.outfit
        elif self.turn is not None:
            order = {"turn": self.turn, "files": {} if self.sees else self._files(self.key)}
            self.turn = None
        self.answer = self.actor.hear.remote(order, outfit, self._patience)

    def heard(self) -> list[Message]:
        """Its answer. Raises RayError where it is lost."""
        said = self.cargo.ray.get(self.answer)
        self.answer = None
        if self.sees is None:
            self.sees = said
            return []
        return said  # type: ignore[no-any-return]

    def _files(self, key: str | None) -> dict[str, list[Any]]:
        files: dict[str, list[Any]] = self.cargo.files(key, self.known)
        self.known |= files.keys()
        return files


def _failed(key: str, error: Exception) -> Message:
    reason, unwritten = " ".join(str(error).split()), isinstance(error, WriteError)
    return {"kind": "failed", "key": key, "reason": reason, "traceback": "", "refused": False, "unwritten": unwritten}


def _why(error: Exception) -> str:
    """What a worker died of, in words."""
    text = " ".join(str(error).split())
    if "node has died" in text:
        return DIED
    if "memory" in text.lower() and "OOM" in text:
        return "was killed, as when memory runs out"
    if "unavailable" in text:
        return SILENT
    return f"is gone: {text[:200]}"
