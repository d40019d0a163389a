"""What a process of the command line owes its surroundings from its first moment on: signals end it with a line, and its streams are open.

Imports next to nothing: every millisecond before `start` is one in which a signal ends the process without a word.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

READER_GONE = 141
"""Exit code of a program whose reader has gone: 128 + SIGPIPE, as the shell counts."""
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1", "KERAS_BACKEND": "tensorflow"}
"""What has to be in the environment before TensorFlow loads; oneDNN is off by default on AMD: 2 to 4 x faster convolutions."""
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))
"""Told to stop, Ctrl-C, and the terminal that is closed."""
Handler = Callable[[int, Any], Any]


def start() -> None:
    """Until something else is said, the signals of ENDING end the process at once, with a line; a stream that was closed leads nowhere.

    A closed one would give its number to the next file that is opened, and warnings would be written into a result. What standard
    error does not take is dropped: no run ends because its log is on a full disk. TensorFlow is quiet whoever imports it first.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    sys.meta_path.insert(0, _Quietly)
    sys.stderr = _dropping(sys.stderr)
    _listen(_end)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without the collector of cycles, for what makes a million objects and none: it would look at all of them, again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep the C++ start-up lines of TensorFlow off the terminal; they come before its log level is read."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") in ("0", "1"):
        yield
        return
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as sink:
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


class _Quietly:
    """Finds TensorFlow where Python does, and loads it quietly: a plugin may be the first to import it."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if name != "tensorflow":
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path)
        if spec and spec.loader:
            spec.loader.exec_module = quiet_stderr()(spec.loader.exec_module)  # type: ignore[method-assign]
        return spec


class _Dropping(io.FileIO):
    def write(self, text: Any) -> int:
        try:
            return super().write(text) or 0
        except OSError:
            return len(text)


def _dropping(stream: Any) -> TextIO:
    """Standard error, written as `stream` writes, without what cannot be written: to a full disk, to a terminal that is closed."""
    raw = _Dropping(2, "wb", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=stream.encoding, errors=stream.errors, line_buffering=True)


@contextlib.contextmanager
def ended_at_once() -> Iterator[None]:
    """The signals of ENDING end the process at once, with a line: for the time in which there is nothing to lose, imports above all."""
    with _listening(_end):
        yield


@contextlib.contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end what is done as Ctrl-C does: by KeyboardInterrupt, so that the log says so, and nothing is lost."""
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
    """Set the handler for ENDING; a signal that the process was started deaf to (nohup) stays unheard. Returns what was there before."""
    heard = [number for number in ENDING if signal.getsignal(number) not in (signal.SIG_IGN, None)]
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
