"""Signals: a run that is told to stop stops soon, and nothing is lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from advrun.process import ENDING, say_interrupted
from advrun.runs.store import Store

GRACE = 5.0
"""Seconds after a signal in which a run may end by itself."""


@contextmanager
def interrupted_soon(store: Store) -> Iterator[None]:
    """For programs that do nothing else: Ctrl-C, SIGTERM and SIGHUP end the process within `GRACE` seconds, also in the middle of a batch.

    Python hears of a signal after the call that it is in, and one call attacks a whole batch. So the signal wakes a thread too,
    which ends the process if the run has not ended by then. The batch is lost, and no more: files are whole or absent at any moment.
    """
    over, (wakened, wake) = threading.Event(), os.pipe()

    def watch() -> None:
        signals = iter(lambda: os.read(wakened, 1)[0], 0)
        if any(number in ENDING for number in signals) and not over.wait(GRACE):
            store.event("interrupted")
            say_interrupted(" within a batch")
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
