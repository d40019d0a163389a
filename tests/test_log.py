"""The log of a results folder, as it is read."""

from __future__ import annotations

from advrun.runs.log import LONGEST, events
from advrun.runs.store import Store


def test_events_of_a_kind_are_read_and_what_is_none_is_left_out(tmp_path):
    store = Store(tmp_path)
    store.event("start", cell="done")  # another kind, which says the word
    store.event("done", cell="a")
    with open(tmp_path / "log.jsonl", "ab") as log:
        log.write(b'["done"]\n{"event": "done", "cell": ' + b"x" * LONGEST + b'}\n{"event": "done", "cel')
    store.event("failed", cell="b")  # closes the line that was torn
    store.event("done", cell="c")
    assert [event["cell"] for event in events(tmp_path, "done")] == ["a", "c"]
    assert [event["cell"] for event in events(tmp_path, "failed", "done")] == ["a", "b", "c"]
    assert list(events(tmp_path / "nowhere", "done")) == []
