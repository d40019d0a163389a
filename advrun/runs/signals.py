"""Signals: a run that is told to stop stops soon, and nothing is lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from advrun.errors import GOES_ON
from advrun.runs.store import Store


@contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: the log says so, and nothing is lost."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


GRACE = 5.0
"""Seconds after a signal in which a run may end by itself."""


@contextmanager
def interrupted_soon(store: Store) -> Iterator[None]:
    """For programs that do nothing else: Ctrl-C and SIGTERM end the process within `GRACE` seconds, also in the middle of a batch.

    Python hears of a signal after the call that it is in, and one call attacks a whole batch. So the signal wakes a thread too,
    which ends the process if the run has not ended by then. The batch is lost, and no more: files are whole or absent at any moment.
    """
    over, (wakened, wake) = threading.Event(), os.pipe()

    def watch() -> None:
        signals = iter(lambda: os.read(wakened, 1)[0], 0)
        if any(number in (signal.SIGINT, signal.SIGTERM) for number in signals) and not over.wait(GRACE):
            store.event("interrupted")
            show_cursor = "\x1b[?25h\n" if sys.stderr.isatty() else ""
            os.write(2, f"{show_cursor}advrun: interrupted within a batch; {GOES_ON}\n".encode())
            os._exit(130)

    os.set_blocking(wake, False)
    before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.write(wake, b"\0")
        thread.join()
        os.close(wake)
        os.close(wakened)
