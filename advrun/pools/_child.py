"""A worker in a process of its own: the first line of standard input is the job, each further one the key of a cell, or
what answers the worker's last `turn`."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from typing import Any

from advrun import process

TURN = "turn "
"""How a line begins that is no key."""


def main() -> None:
    """Work until standard input ends, which it does when the driver does, however that ends."""
    said = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="surrogateescape")
    os.dup2(2, 1)  # whatever else prints is no message
    process.start()
    lines = iter(sys.stdin.buffer.readline, b"")
    job = next(lines, b"").decode(errors="surrogateescape")
    keys: queue.SimpleQueue[str] = queue.SimpleQueue()
    turns: queue.SimpleQueue[str] = queue.SimpleQueue()
    speaking = threading.Lock()

    def listen() -> None:
        for line in lines:
            text = line.decode().rstrip("\n")
            if text.startswith(TURN):
                turns.put(text.removeprefix(TURN))
            else:
                keys.put(text)
        os._exit(0)  # in the middle of a batch, too: files are whole or absent at any moment

    def send(message: dict[str, Any]) -> None:
        try:
            with speaking:
                said.write(json.dumps(message) + "\n")
                said.flush()
        except OSError:
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    try:
        from advrun.runs.hand import made

        with made(job, send, turns.get) as hand:
            send({"kind": "ready"})
            while True:
                hand.do(keys.get())
    except BaseException:  # its last line is what the driver says
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # the thread still reads, and Python would not end without a lock that it holds


if __name__ == "__main__":
    main()
