"""One worker: this process."""

from __future__ import annotations

from advrun.pools import Hand, Job, Message, Pool


def serial(job: Job) -> Pool:
    """Cells one after the other, in this process."""
    return _Serial(job)


class _Serial:
    size = 1

    def __init__(self, job: Job) -> None:
        self._job = job
        self._hand: Hand | None = None
        self._said: list[Message] = []
        self._given: str | None = None

    def give(self, worker: int, key: str) -> None:
        self._given = key

    def tell(self, worker: int, turn: str) -> None:
        """It does not ask."""

    def hear(self, seconds: float) -> list[Message]:
        key, self._given = self._given, None
        if key is not None:
            self._hand = self._hand or self._job.here(lambda message: self._said.append({**message, "worker": 0}))
            self._hand.do(key)
        said, self._said[:] = list(self._said), []
        return said

    def close(self) -> None:
        """There is nobody to end."""
