"""The results folder: whole files, honest manifests, a lock that dies with its owner."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from advrun.checkpoints import Checkpoints
from advrun.errors import AdvrunError, LockError
from advrun.files import atomic, content_key, digest, write_text
from advrun.runs.examples import read_examples, write_examples
from advrun.runs.manifest import Manifest
from advrun.runs.store import FOLDERS, Store


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
def test_damage_is_noticed(tmp_path, damage, caplog):
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
    name = manifest if damage in ("other key", "torn manifest") else file
    assert [f"{name}: " in text and text.endswith("it counts as not done") for text in caplog.messages] == [True]
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


def everything(arrays):
    return arrays


def test_checkpoints(tmp_path):
    checkpoints = Store(tmp_path).checkpoints(FakeCell("a"))
    assert checkpoints.get("0", everything) is None
    checkpoints.put("0", {"x": np.arange(3)})
    checkpoints.flush()
    np.testing.assert_array_equal(Store(tmp_path).checkpoints(FakeCell("a")).get("0", everything)["x"], np.arange(3))
    checkpoints.clear()
    assert not list((tmp_path / "partial").rglob("*"))


def kept(tmp_path: Path) -> Checkpoints:
    checkpoints = Store(tmp_path).checkpoints(FakeCell("a"))
    for epoch in (1, 2):
        checkpoints.put("fit", {"epoch": np.array(epoch)})
        checkpoints.flush()
    return Store(tmp_path).checkpoints(FakeCell("a"))


@pytest.mark.parametrize("damage", ["flip a byte", "truncate", "empty", "pickle", "another key", "bomb"])
def test_a_damaged_checkpoint_is_named_and_thrown_away_and_the_one_before_it_serves(tmp_path, damage, caplog):
    checkpoints = kept(tmp_path)
    file = tmp_path / "partial/a/fit.npz"
    content = file.read_bytes()
    if damage == "flip a byte":
        place = content.index(b"NUMPY") + 127  # the number itself
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    elif damage == "truncate":
        file.write_bytes(content[:50])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "pickle":
        np.savez(file, epoch=np.array([{}], object))
    elif damage == "another key":
        np.savez(file, progress=np.array(2))
    else:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (300 << 20,)})
            with archive.open("epoch.npy", "w") as member:
                member.write(header.getvalue())
                for _ in range(300):
                    member.write(bytes(1 << 20))
    assert checkpoints.get("fit", lambda arrays: int(arrays["epoch"])) == 1
    assert not file.exists()
    assert caplog.text.count("fit.npz: a checkpoint that cannot be used") == 1
    assert '"damaged"' in (tmp_path / "log.jsonl").read_text()


def test_only_two_generations_of_a_checkpoint_are_kept(tmp_path):
    kept(tmp_path)
    assert sorted(path.name for path in (tmp_path / "partial/a").iterdir()) == ["fit.before.npz", "fit.npz"]


OUTSIDE = "somebody else's"


@pytest.fixture
def outside(tmp_path) -> Path:
    """A folder beside the results folder that must stay as it is."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in ("file.txt", "cell-a.json", "cell-a.txt", "0.npz", ".x.1.tmp.json"):
        (folder / name).write_text(OUTSIDE)
    return folder


def unharmed(folder: Path) -> bool:
    names = {"file.txt", "cell-a.json", "cell-a.txt", "0.npz", ".x.1.tmp.json"}
    return {path.name for path in folder.iterdir()} == names and all(path.read_text() == OUTSIDE for path in folder.iterdir())


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_leads_elsewhere_is_refused(tmp_path, outside, name):
    store = Store(tmp_path / "results")
    store.root.mkdir()
    (store.root / name).symlink_to(outside)
    with pytest.raises(AdvrunError, match=f"results/{name} is a link"), store.locked():
        pass
    assert store.manifest(FakeCell("a")) is None
    store.tidy()
    assert unharmed(outside)


def test_nothing_is_written_through_a_link_at_the_place_of_a_file(tmp_path, outside):
    store, cell = Store(tmp_path / "results"), FakeCell("a")
    for name in ("models/cell-a.txt", "manifests/cell-a.json", "log.jsonl", ".owner", "config.yaml"):
        place = store.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(outside / "file.txt")
    with store.locked():
        store.event("start")
        write_text(store.root / "config.yaml", "mine")
        finish(store, cell)
    assert unharmed(outside)
    assert (store.root / "log.jsonl").read_text().count("\n") >= 2
    assert Store(store.root).manifest(cell) is not None


def test_the_log_is_not_written_where_it_has_another_name(tmp_path, outside):
    store = Store(tmp_path / "results")
    store.root.mkdir()
    os.link(outside / "file.txt", store.root / "log.jsonl")
    store.event("before the lock")
    with store.locked():
        store.event("start")
    assert unharmed(outside)
    assert "start" in (store.root / "log.jsonl").read_text()


def test_a_lock_that_is_a_link_is_refused(tmp_path, outside):
    store = Store(tmp_path / "results")
    store.root.mkdir()
    (store.root / ".lock").symlink_to(outside / "file.txt")
    with pytest.raises(AdvrunError, match="lock is a link"), store.locked():
        pass
    assert unharmed(outside)


@pytest.mark.parametrize("whole", [False, True])
def test_checkpoints_behind_a_link_are_neither_read_nor_removed(tmp_path, outside, whole):
    store = Store(tmp_path / "results")
    place = store.root / "partial" / ("" if whole else "a")
    place.parent.mkdir(parents=True)
    place.symlink_to(outside)
    if whole:
        with pytest.raises(AdvrunError, match="partial is a link"):
            store.checkpoints(FakeCell("a"))
    else:
        checkpoints = store.checkpoints(FakeCell("a"))
        assert checkpoints.get("0", everything) is None
        checkpoints.put("0", {"x": np.arange(3)})
        checkpoints.flush()
        checkpoints.clear()
    assert unharmed(outside)


@pytest.mark.parametrize("name", ["manifests/cell-a.json", "models/cell-a.txt", ".owner", "log.jsonl", "partial/a/0.npz"])
def test_a_pipe_holds_nothing_up(tmp_path, name):
    """Opening one would wait for its other end for ever."""
    store, cell = Store(tmp_path), FakeCell("a")
    finish(store, cell)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    store = Store(tmp_path)
    with store.locked():
        found = store.manifest(cell)
        assert (found is None) == (name in ("manifests/cell-a.json", "models/cell-a.txt"))
        assert store.checkpoints(cell).get("0", everything) is None
        finish(store, cell)
    assert Store(tmp_path).manifest(cell) is not None


def test_a_results_folder_may_be_a_link_and_lie_under_one(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "results").symlink_to("disk")
    (tmp_path / "disk/big").mkdir()
    (tmp_path / "disk/name").symlink_to("big")
    store = Store(tmp_path / "results/name")
    with store.locked():
        finish(store, FakeCell("a"))
    assert Store(tmp_path / "disk/big").manifest(FakeCell("a")) is not None


@pytest.mark.parametrize(
    "name",
    [
        "../outside/file.txt",
        "/etc/passwd",
        "models/../../x",
        "",
        ".",
        "models/link/file.txt",
        "link",
        "a\0b",
        "models\\..\\x",
        "x" * 300,
        "models/a/b",
    ],
)
def test_a_manifest_cannot_name_files_elsewhere(tmp_path, outside, name):
    store, cell = Store(tmp_path / "results"), FakeCell("a")
    finish(store, cell)
    (store.root / "models/link").symlink_to(outside)
    (store.root / "link").symlink_to(outside / "file.txt")
    manifest = Manifest(cell.key, cell.label, {name: digest(outside / "file.txt")}, {}, {})
    (store.root / "manifests/cell-a.json").write_text(manifest.to_json())
    assert Store(store.root).manifest(cell) is None
    Store(store.root).remove(name)
    assert unharmed(outside)


@pytest.mark.parametrize("field", ["key", "label", "files", "inputs", "info"])
def test_a_manifest_changed_by_hand_is_damaged(tmp_path, field):
    cell = FakeCell("a")
    finish(Store(tmp_path), cell)
    place = tmp_path / "manifests/cell-a.json"
    content = json.loads(place.read_text())
    content[field] = {**content[field], "zero_gradients": 0.0} if isinstance(content[field], dict) else content[field] + " "
    place.write_text(json.dumps(content))
    assert Store(tmp_path).manifest(cell) is None
    assert "changed by hand" in (tmp_path / "log.jsonl").read_text()


def test_a_manifest_of_an_earlier_version_is_no_damage(tmp_path):
    cell = FakeCell("a")
    finish(Store(tmp_path), cell)
    place = tmp_path / "manifests/cell-a.json"
    place.write_text(json.dumps({name: value for name, value in json.loads(place.read_text()).items() if name != "seal"}))
    assert Store(tmp_path).manifest(cell) is None
    assert not (tmp_path / "log.jsonl").exists()


BOMBS = ["[" * 100_000, '{"a":' * 50_000, "[],", "null", "3", '"x"', "[]", "{}", '{"seal": 1}', "9" * 10_000, "\ud800", "NaN"]


@pytest.mark.parametrize("text", BOMBS, ids=lambda text: text[:6])
def test_hostile_json_is_damage(tmp_path, text):
    cell = FakeCell("a")
    finish(Store(tmp_path), cell)
    (tmp_path / "manifests/cell-a.json").write_bytes(text.encode(errors="surrogatepass"))
    assert Store(tmp_path).manifest(cell) is None
    with (tmp_path / "manifests/cell-a.json").open("wb") as file:  # 4 TB that take no room
        file.truncate(1 << 42)
    assert Store(tmp_path).manifest(cell) is None


SEALED = [
    Manifest(1, "cell a", {}, {}, {}),
    Manifest("a", "cell a", [], {}, {}),
    Manifest("a", "cell a", {"models/x": 3}, {}, {}),
    Manifest("a", "cell a", {}, {"x": []}, {}),
    Manifest("a", "cell a", {}, {}, []),
]


@pytest.mark.parametrize("manifest", SEALED, ids=str)
def test_a_sealed_manifest_of_wrong_types_is_damage(tmp_path, manifest):
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/cell-a.json").write_text(json.dumps({**vars(manifest), "seal": content_key(vars(manifest))}))
    assert Store(tmp_path).manifest(FakeCell("a")) is None


def test_a_whole_file_that_cannot_be_used_is_told_and_its_cell_done_again(tmp_path):
    cell = FakeCell("a")
    finish(Store(tmp_path), cell)
    store = Store(tmp_path)
    with pytest.raises(AdvrunError, match=r"cell-a\.txt: cannot be used .*invalid literal.*run again"):
        store.read(cell, ".txt", lambda path: int(path.read_text()))
    assert store.manifest(cell) is None
    assert Store(tmp_path).manifest(cell) is None


def test_the_same_examples_are_the_same_bytes(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"x_adv": rng.random((5, 4, 4, 3), np.float32), "attacked": np.ones(5, bool), "row": np.arange(5)}
    write_examples(arrays, "pgd", tmp_path / "a.h5")
    time.sleep(1.1)
    write_examples(arrays, "pgd", tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    again = read_examples(tmp_path / "a.h5", (9, 4, 4, 3))
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from advrun.errors import WriteError
from advrun.files import write_bytes
from advrun.npz import pack
from advrun.runs.examples import write_examples
from advrun.runs.store import Store
from tests.test_store import FakeCell
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # what is too large is an error, as on a full disk
store, cell = Store(Path(sys.argv[1])), FakeCell("a")
checkpoints = store.checkpoints(cell)
checkpoints._last_write = 0  # long ago
x = np.random.default_rng(0).random((40, 16, 16, 3), np.float32)
arrays = {"x_adv": x, "row": np.arange(40)}
works = {
    "examples": lambda: store.finish(cell, {"examples/a.h5": lambda path: write_examples(arrays, "a", path)}, {}),
    "checkpoint": lambda: checkpoints.put("0", arrays),
    "manifest": lambda: store.finish(cell, {}, {"x": "y" * 100_000}),
    "bytes": lambda: write_bytes(store.root / "report.html", pack(arrays)),
}
store.event("start")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
for name, work in works.items():
    try:
        work()
    except WriteError as error:
        print(name, error.exit_code, str(error).count("\\n"))
"""


@pytest.mark.parametrize("room", [0, 1000, 60_000])
def test_a_full_disk_is_one_line_and_what_was_there_is_kept(tmp_path, room):
    run = subprocess.run([sys.executable, "-c", FULL, str(tmp_path), str(room)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.split("\n") == ["examples 8 0", "checkpoint 8 0", "manifest 8 0", "bytes 8 0", ""]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "log.jsonl"]


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
