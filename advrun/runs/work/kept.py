"""What one cell has made and the next may use, beside the system and the images that the worker keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from advrun.runs.work.worker import Worker

T = TypeVar("T")
_made: WeakKeyDictionary[Worker, tuple[str, Any]] = WeakKeyDictionary()


def kept(worker: Worker, key: str, make: Callable[[], T]) -> T:
    """What `make` makes, which the worker's next cell may ask for again under the same key, such as an attack that is compiled."""
    if _made.get(worker, ("", None))[0] != key:
        _made.pop(worker, None)
        _made[worker] = key, make()
    made: T = _made[worker][1]
    return made
