"""One thread that does all computing, one piece after the other, so that TensorFlow meets one attack at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class OneThread:
    """It begins at once, and ends by `close`."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[Callable[[], Any], Future[Any]] | None] = queue.Queue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="computing")
        self._thread.start()

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Do this after what was submitted before, unless its future is cancelled first, as all are once the thread is closed."""
        future: Future[Any] = Future()
        self._waiting.put((work, future))
        return future

    def close(self, seconds: float) -> bool:
        """Begin nothing more, and wait so long for what is at work; returns whether that has ended."""
        self._closed.set()
        self._waiting.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            work, future = waiting
            if self._closed.is_set():
                future.cancel()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
