"""What this machine has for workers: cores, memory, threads."""

from __future__ import annotations

import os
from pathlib import Path

WORKER_BYTES = 1 << 30
"""Of a process with TensorFlow, a model of a few million weights and a batch, without the data."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_bytes() -> int | None:
    """Memory that is free, or can be freed, for this process: of the machine, or of its container where that allows less. None if nobody
    says."""
    found = [_available(Path("/proc/meminfo")), _left(Path("/sys/fs/cgroup"))]
    return min((each for each in found if each is not None), default=None)


def fitting(room: int) -> int:
    """How many workers have a core each, and memory for `room` bytes of data besides themselves; at least 1."""
    free = free_bytes()
    return max(min(cores(), cores() if free is None else free // (WORKER_BYTES + room)), 1)


def threads(workers: int) -> dict[str, str]:
    """Environment of one of so many workers.

    How many threads share one operation decides in which order gradients are summed up, and so their last bits: it is the same in every
    worker as in a process alone. (Measured on L-net and two others: gradients and weights differ between 1 thread and 2; 2 threads on one
    core give the bits of 2 threads on two.) What is divided is how many operations run at once.
    """
    own = os.environ.get("TF_NUM_INTRAOP_THREADS") or str(cores())
    return {
        "TF_NUM_INTRAOP_THREADS": own,
        "TF_NUM_INTEROP_THREADS": os.environ.get("TF_NUM_INTEROP_THREADS") or str(max(cores() // workers, 2)),
    }


def _available(file: Path) -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in file.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) << 10
    except (OSError, ValueError, KeyError):
        return None


def _left(group: Path) -> int | None:
    """What a control group leaves, with the files that it would drop from memory."""
    try:
        used = {name: int(size) for name, size in map(str.split, (group / "memory.stat").read_text().splitlines())}
        kept = int((group / "memory.current").read_text()) - used["active_file"] - used["inactive_file"]
        return max(int((group / "memory.max").read_text()) - kept, 0)
    except (OSError, ValueError, KeyError):  # none, or "max"
        return None
