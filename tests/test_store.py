"""The results folder: whole files, honest manifests, a lock that dies with its owner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from advrun.errors import AdvrunError, LockError
from advrun.files import atomic, content_key, write_text
from advrun.runs.store import Store


@dataclass(frozen=True)
class FakeCell:
    key: str
    needs: tuple = ()

    @property
    def label(self):
        return f"cell {self.key}"

    @property
    def stem(self):
        return f"cell-{self.key}"


def finish(store: Store, cell: FakeCell, text: str = "content") -> None:
    store.finish(cell, {f"models/{cell.stem}.txt": lambda path: path.write_text(text)}, {"seconds": 1})


def test_a_finished_cell_is_found_again(tmp_path):
    cell = FakeCell("a")
    assert Store(tmp_path).manifest(cell) is None
    finish(Store(tmp_path), cell)
    assert Store(tmp_path).manifest(cell).info == {"seconds": 1}
    assert Store(tmp_path).file(cell, ".txt").read_text() == "content"


@pytest.mark.parametrize("damage", ["flip a byte", "truncate", "remove", "other key", "torn manifest"])
def test_damage_is_noticed(tmp_path, damage):
    cell = FakeCell("a")
    finish(Store(tmp_path), cell)
    file, manifest = tmp_path / "models/cell-a.txt", tmp_path / "manifests/cell-a.json"
    if damage == "flip a byte":
        file.write_text("cOntent")
    elif damage == "truncate":
        file.write_text("cont")
    elif damage == "remove":
        file.unlink()
    elif damage == "other key":
        manifest.write_text(manifest.read_text().replace('"key": "a"', '"key": "b"'))
    else:
        manifest.write_text(manifest.read_text()[:40])
    assert Store(tmp_path).manifest(cell) is None
    finish(Store(tmp_path), cell)
    assert Store(tmp_path).manifest(cell) is not None


def test_a_cell_made_from_a_changed_input_is_not_finished(tmp_path):
    source = FakeCell("a")
    made = FakeCell("b", (source,))
    store = Store(tmp_path)
    finish(store, source)
    finish(store, made)
    assert Store(tmp_path).manifest(made) is not None
    finish(Store(tmp_path), source, "something else")
    assert Store(tmp_path).manifest(made) is None


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail():
        with atomic(path) as temporary:
            temporary.write_text("half of the ne")
            raise OSError(28, "No space left on device")

    with pytest.raises(AdvrunError, match="No space left"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_keys_depend_on_content_alone():
    assert content_key({"a": 1, "b": [2.5, None]}) == content_key({"b": [2.5, None], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})


def test_checkpoints(tmp_path):
    checkpoints = Store(tmp_path).checkpoints(FakeCell("a"))
    assert checkpoints.get("0") is None
    checkpoints.put("0", {"x": np.arange(3)})
    checkpoints.flush()
    np.testing.assert_array_equal(Store(tmp_path).checkpoints(FakeCell("a")).get("0")["x"], np.arange(3))
    file = next((tmp_path / "partial").rglob("*.npz"))
    file.write_bytes(file.read_bytes()[:50])
    assert checkpoints.get("0") is None
    checkpoints.clear()
    assert not list((tmp_path / "partial").rglob("*"))


def test_the_log_survives_a_torn_line(tmp_path):
    store = Store(tmp_path)
    store.event("start", cell="a")
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"time": 1, "ev')
    store.event("done", cell="a")
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in (lines[0], lines[2])] == ["start", "done"]


HOLDER = """
import sys, time
from pathlib import Path
from advrun.runs.store import Store
with Store(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_names_its_owner_and_dies_with_it(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        started = time.monotonic()
        with pytest.raises(LockError, match=f"process {holder.pid} "), Store(tmp_path).locked():
            pass
        assert time.monotonic() - started < 3
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with Store(tmp_path).locked():
        assert Path(tmp_path / ".owner").read_text().startswith(f"process {os.getpid()} ")


WRITER = """
import sys
from pathlib import Path
from advrun.files import write_text
for i in range(100000):
    write_text(Path(sys.argv[1]), str(i % 10) * 5000)
"""


def test_a_reader_never_sees_half_a_file_even_when_the_writer_is_killed(tmp_path):
    path = tmp_path / "file.txt"
    for pause in (0.3, 0.4, 0.55):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
        end = time.monotonic() + 1 + pause
        while time.monotonic() < end:
            if path.exists():
                text = path.read_text()
                assert len(text) == 5000
                assert len(set(text)) == 1
        writer.kill()
        writer.wait()
        assert len(path.read_text()) == 5000
