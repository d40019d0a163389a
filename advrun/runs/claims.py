"""Claims: which cells of a folder that several runs share are being done, on this machine or on another.

A claim is a lock on one byte of one empty file, `.claims`; which byte, the hash of what is claimed says. It is the kernel's, or the file
server's, so it dies with its owner, however that ends, and nothing stale is left behind to be judged by its age: at once on one machine,
and over NFS when the server hears of the end, or misses the client for its lease (90 seconds by default).

Some cluster file systems keep locks to each machine (Lustre with `localflock`). Then two machines may do the same cell: time is lost, and
no more, for both write the same bytes, and each file is whole or absent.
"""

from __future__ import annotations

import os
from pathlib import Path

from advrun.errors import AdvrunError
from advrun.files import content_key, opened

FILE = ".claims"


class Claims:
    """Those of one process; it opens the file once, for the kernel drops all locks of a process with the first descriptor that it closes.

    Raises:
        AdvrunError: where the file system has no locks, or cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self._place = root / FILE
        try:
            self._file = opened(self._place, os.O_RDWR | os.O_CREAT, "r+b")
        except OSError as error:
            raise AdvrunError(f"{self._place}: cannot be opened ({error.strerror or error}); give another `results` folder") from error

    def take(self, name: str) -> bool:
        """Claim what has this name, until `drop` or the end of the process. False where another process has it."""
        import fcntl

        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte(name))
        except (BlockingIOError, PermissionError):  # what it is called depends on the system
            return False
        except OSError as error:
            text = f"this file system has no locks ({error.strerror or error}), which shards need"
            raise AdvrunError(f"{self._place}: {text}; give a `results` folder elsewhere, or run without --shard") from error
        return True

    def drop(self, name: str) -> None:
        """Others may have it."""
        import fcntl

        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _byte(name))

    def close(self) -> None:
        """Drop all claims."""
        self._file.close()


def _byte(name: str) -> int:
    return int(content_key(name)[:15], 16)  # below 2 ** 60
