"""What a process of the command line owes its surroundings from its first moment on: signals end it with a line, and its streams are open.

Imports next to nothing: every millisecond before `start` is one in which a signal ends the process without a word.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

READER_GONE = 141
"""Exit code of a program whose reader has gone: 128 + SIGPIPE, as the shell counts."""
Handler = Callable[[int, Any], Any]


def start() -> None:
    """Until something else is said, SIGTERM and Ctrl-C end the process at once, with a line; a stream that was closed leads nowhere.

    A closed one would give its number to the next file that is opened, and warnings would be written into a result.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    _listen(_end)


@contextlib.contextmanager
def ended_at_once() -> Iterator[None]:
    """SIGTERM and Ctrl-C end the process at once, with a line: for the time in which there is nothing to lose, imports above all."""
    with _listening(_end):
        yield


@contextlib.contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM ends what is done as Ctrl-C does: by KeyboardInterrupt, so that the log says so, and nothing is lost."""
    with _listening(_interrupt):
        yield


def say_interrupted(where: str = "") -> None:
    """The last line of an interrupted process."""
    from advrun.errors import GOES_ON

    show_cursor = b"\x1b[?25h\n" if os.isatty(2) else b""
    with contextlib.suppress(OSError):
        os.write(2, show_cursor + f"advrun: interrupted{where}; {GOES_ON}\n".encode())


def silence() -> None:
    """What is still to be written to the standard streams goes nowhere: their reader is gone, or their disk full."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(nowhere, stream.fileno())


def _end(number: int, frame: Any) -> None:
    say_interrupted()
    os._exit(130)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _listen(handler: Handler) -> dict[int, Any]:
    """Set the handler for both signals; one that the process was started deaf to stays unheard. Returns what was there before."""
    heard = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    return {number: signal.signal(number, handler) for number in heard}


@contextlib.contextmanager
def _listening(handler: Handler) -> Iterator[None]:
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _listen(handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
