"""Several processes on this machine, each with a system of its own loaded."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from advrun.pools import ENDS, Job, Message, Pool
from advrun.pools._child import TURN
from advrun.pools._machine import fitting, threads

CODE = str(Path(__file__).parents[2])
"""The folder of this package: workers run the same code."""


def processes(job: Job, workers: int | None = None) -> Pool:
    """Processes that Python starts anew (TensorFlow survives no fork).

    Args:
        job: what they are for.
        workers: how many; by default one for each core, fewer where memory is short.
    """
    return _Processes(job, min(workers or fitting(job.room), max(job.useful, 1)))


class _Processes:
    def __init__(self, job: Job, size: int) -> None:
        self.size, self._job = size, job
        self._said: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._workers: dict[int, _Process] = {}

    def give(self, worker: int, key: str) -> None:
        if worker not in self._workers or not self._workers[worker].give(key):
            self._workers[worker] = _Process(worker, self._job.text, self.size, self._said)
            self._workers[worker].give(key)

    def tell(self, worker: int, turn: str) -> None:
        self._workers[worker].tell(turn)

    def hear(self, seconds: float) -> list[Message]:
        said = []
        with contextlib.suppress(queue.Empty):
            said.append(self._said.get(timeout=seconds))
            while True:
                said.append(self._said.get_nowait())
        return said

    def close(self) -> None:
        for process in self._workers.values():
            process.end()


class _Process:
    """A process that hears of its driver through its standard input, and ends when that does; so no driver leaves it behind."""

    def __init__(self, number: int, text: str, of: int, said: queue.SimpleQueue[Message]) -> None:
        self.number, self._said = number, said
        self._key: str | None = None
        self._is_gone, self._changing = False, threading.Lock()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "advrun.pools._child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **threads(of), "PYTHONPATH": os.pathsep.join(filter(None, (CODE, os.environ.get("PYTHONPATH"))))},
            start_new_session=True,  # Ctrl-C in a terminal is for the driver
        )
        self._write(text)
        threading.Thread(target=self._listen, daemon=True).start()

    def give(self, key: str) -> bool:
        """Returns False where it is gone. Where it goes now, its last message names the key."""
        with self._changing:
            if self._is_gone:
                return False
            self._key = key
        self._write(key)
        return True

    def tell(self, turn: str) -> None:
        self._write(f"{TURN}{turn}")

    def end(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # it is gone, or its pipe closed already: `_listen` says so
            pipe: Any = self._process.stdin
            pipe.write(line.encode(errors="surrogateescape") + b"\n")
            pipe.flush()

    def _listen(self) -> None:
        """Pass on what it says; when it says no more, it is gone."""
        pipe: Any = self._process.stdout
        for line in pipe:
            with contextlib.suppress(ValueError):  # torn by its end
                message = json.loads(line)
                if message["kind"] in ENDS:
                    self._key = None
                self._said.put({**message, "worker": self.number})
        code = self._process.wait()
        with self._changing:
            self._is_gone = True
        keys: Any = self._process.stdin
        for end in (pipe, keys):
            with contextlib.suppress(OSError):
                end.close()
        self._said.put({"kind": "lost", "worker": self.number, "key": self._key, "why": self._why(code)})

    def _why(self, code: int) -> str:
        """What it died of, in words: its signal, and the last line that it wrote for people."""
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(self._errors.tell() - 2000, 0))
        lines = self._errors.read().decode(errors="replace").split("\n")
        self._errors.close()
        last = next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")
        if code >= 0:
            died = f"ended with exit code {code}"
        else:
            known = {number.value: number.name for number in signal.Signals}
            died = f"was killed by {known.get(-code, -code)}" + (", as when memory runs out" if code == -signal.SIGKILL else "")
        return died + (f": {last}" if last else "")
