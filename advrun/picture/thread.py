"""One thread that does all computing, one piece after the other, so that TensorFlow meets one attack at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class OneThread:
    """It ends with the program, also in the middle of a piece of work."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[Callable[[], Any], Future[Any]]] = queue.Queue()
        threading.Thread(target=self._work, daemon=True, name="computing").start()

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Do this after what was submitted before, unless its future is cancelled first."""
        future: Future[Any] = Future()
        self._waiting.put((work, future))
        return future

    def _work(self) -> None:
        while True:
            work, future = self._waiting.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
