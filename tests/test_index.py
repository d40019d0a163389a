"""The index beside the rows: it saves the reading of what was read, and is believed of nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from advrun.cli import main
from advrun.config import load
from advrun.files import digest_of_bytes
from advrun.runs import index, runner
from advrun.runs.plan import make_plan
from advrun.runs.shares import Shard
from advrun.runs.store import RECORD, Store
from advrun.verify.whole import verify
from tests.test_store import FakeCell


@dataclass(frozen=True)
class RunCell(FakeCell):
    """As the plan has them."""

    metric: str = ""


ROW = RunCell("a")
COLUMNS = RunCell("b", (ROW,), "success")


@pytest.fixture
def settled(monkeypatch) -> None:
    """Files are old enough at once."""
    monkeypatch.setattr(index, "SETTLED", 0)


class Reader(Store):
    """Tells which files were hashed or parsed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read_files: list[str] = []
        self.recall()

    def holds(self, name: str, expected: str | None = None) -> bool:
        self.read_files.append(name)
        return super().holds(name, expected)

    def _only_file(self, manifest):
        self.read_files += manifest.files
        return super()._only_file(manifest)

    def _read(self, cell, name):
        self.read_files.append(name)
        return super()._read(cell, name)


def filled(root: Path) -> None:
    """Two finished cells, and an index that knows them."""
    store = Store(root)
    store.finish(ROW, {"models/cell-a.bin": lambda path: path.write_bytes(bytes(5000))}, {"seconds": 1})
    store.finish(COLUMNS, {"metrics/cell-b.json": lambda path: path.write_text('{"success": 0.5}')}, {})
    reader = Reader(root)
    assert told(reader) == ({"seconds": 1}, {"success": 0.5})
    assert len(reader.read_files) == 4
    reader.keep()


def told(store: Store) -> tuple[object, object]:
    manifest = store.manifest(ROW)
    return manifest and manifest.info, store.leaf(COLUMNS, dict)


def test_what_was_read_is_not_read_again(tmp_path, settled):
    filled(tmp_path)
    reader = Reader(tmp_path)
    assert told(reader) == ({"seconds": 1}, {"success": 0.5})
    assert reader.read_files == []
    before = (tmp_path / index.FILE).stat()
    reader.keep()
    assert (tmp_path / index.FILE).stat().st_ino == before.st_ino  # nothing was new


def in_place(path: Path) -> None:
    """Another byte, the same size, and the old time."""
    state, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def replaced(path: Path) -> None:
    state = path.stat()
    other = path.with_name("other")
    shutil.copy(path, other)
    in_place(other)
    os.replace(other, path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("change", [in_place, replaced, linked, Path.unlink])
@pytest.mark.parametrize("name", ["models/cell-a.bin", "manifests/cell-a.json", "metrics/cell-b.json", "manifests/cell-b.json"])
def test_a_file_that_has_changed_is_read_whatever_its_time_says(tmp_path, settled, name: str, change: Callable[[Path], None]):
    filled(tmp_path)
    change(tmp_path / name)
    info, columns = told(Reader(tmp_path))
    assert columns is None  # its own file, or the cell that it was made from
    assert (info is None) == ("cell-a" in name)
    assert told(Store(tmp_path)) == (info, columns)


def test_a_copied_folder_is_read_anew_even_if_its_index_lies(tmp_path, settled):
    filled(tmp_path / "one")
    (tmp_path / "one" / index.FILE).write_bytes(lying((tmp_path / "one" / index.FILE).read_bytes(), b"0.5", b"1.0"))
    shutil.copytree(tmp_path / "one", tmp_path / "two")  # with its times, as `cp -a`
    assert told(Reader(tmp_path / "two")) == ({"seconds": 1}, {"success": 0.5})


def lying(content: bytes, old: bytes, new: bytes) -> bytes:
    """An index that says something else, under seals of its own."""
    assert old in content
    return b"".join(under_seal(line[36:-1].replace(old, new)) for line in content.splitlines())


def under_seal(text: bytes) -> bytes:
    """A line of an index that says this."""
    return b'["' + digest_of_bytes(text).encode() + b'",' + text + b"]\n"


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        (lambda text: text.replace(b"0.5", b"1.0"), 2),
        (lambda text: text.replace(b"\n[", b"["), 4),
        (lambda text: b"\xff\n[]\n" + text, 0),
        (lambda text: bytes(len(text)) + b"\n", 4),
    ],
)
def test_lines_that_are_not_as_they_were_written_are_logged_and_not_believed(tmp_path, settled, change, lost: int):
    filled(tmp_path)
    (tmp_path / index.FILE).write_bytes(change((tmp_path / index.FILE).read_bytes()))
    reader = Reader(tmp_path)
    assert told(reader) == ({"seconds": 1}, {"success": 0.5})
    assert len(reader.read_files) == lost
    assert any(json.loads(line)["event"] == "damaged" for line in (tmp_path / "log.jsonl").read_text().splitlines())
    reader.keep()
    assert told(again := Reader(tmp_path)) == ({"seconds": 1}, {"success": 0.5})
    assert again.read_files == []


@pytest.mark.parametrize(
    "line", [b"[]", b"{}", b'["a"', b'["a", 1, {}, {}, {}, null, []]', b'["a","cell a",{},{},{},null,[[1,2]]]', b"[" * 9999]
)
def test_hostile_lines_are_not_believed(tmp_path, settled, line: bytes):
    filled(tmp_path)
    (tmp_path / index.FILE).write_bytes(under_seal(line))
    assert told(Reader(tmp_path)) == ({"seconds": 1}, {"success": 0.5})


def test_what_changed_a_moment_ago_is_not_entered(tmp_path):
    """A second change within the same tick of the clock would leave the same time."""
    filled(tmp_path)
    assert not (tmp_path / index.FILE).exists()


def test_a_cell_that_is_forgotten_is_not_remembered(tmp_path, settled):
    filled(tmp_path)
    reader = Reader(tmp_path)
    with pytest.raises(Exception, match="cannot be used"):
        reader.leaf(COLUMNS, lambda content: int("no number"))
    assert told(reader) == ({"seconds": 1}, None)
    reader.keep()
    assert told(Reader(tmp_path)) == ({"seconds": 1}, None)


def test_a_report_of_an_indexed_folder_is_the_same_and_verify_finds_an_index_that_lies(toy_run, tmp_path, settled):
    shutil.copytree(toy_run.parent / "results/toy", root := tmp_path / "results/toy")
    experiment = load(toy_run, [f"results={tmp_path}/results"])
    first, second = (runner.run(experiment, compute=False) for _ in range(2))
    assert [result.to_json() for result in first.results] == [result.to_json() for result in second.results]
    reader, plan = Reader(root), make_plan(experiment, runner.load_data(experiment))
    assert all(reader.manifest(cell) for cell in plan.cells)
    assert reader.read_files == []
    assert not verify(root, quick=True).minutes.found
    said = next(line for line in (root / index.FILE).read_bytes().splitlines() if b'"success":' in line)
    true = json.loads(said)[1]
    true[5]["success"] = 0.123
    lie = json.dumps(true, separators=(",", ":")).encode()
    whole = (root / index.FILE).read_bytes()
    (root / index.FILE).write_bytes(lying(whole, said[36:-1], lie))
    assert [str(each).partition(":")[0] for each in verify(root, quick=True).minutes.found] == [index.FILE]
    (root / index.FILE).write_bytes(whole.replace(b'"success":', b'"failure":', 1))
    assert ["seal" in str(each) for each in verify(root, quick=True).minutes.found] == [True]
    (root / index.FILE).write_bytes(whole[:-9])
    minutes = verify(root, quick=True).minutes
    assert not minutes.found
    assert any("torn" in note for note in minutes.notes)


# While cells finish -----------------------------------------------------------------------------------------------------


WRITE = {
    "a": {"models/cell-a.bin": lambda path: path.write_bytes(bytes(5000))},
    "b": {"metrics/cell-b.json": lambda path: path.write_text('{"success": 0.5}')},
}


def do(store: Store, *cells: RunCell) -> None:
    """As a run: a worker finishes the cell, the driver adopts it."""
    for cell in cells:
        Store(store.root).finish(cell, WRITE[cell.key], {"seconds": 1})
        assert store.adopt(cell)


def driver(root: Path) -> Store:
    store = Store(root)
    store.recall()
    return store


def test_a_run_that_is_killed_has_entered_what_it_finished(tmp_path, settled):
    do(driver(tmp_path), ROW, COLUMNS)
    assert told(reader := Reader(tmp_path)) == ({"seconds": 1}, {"success": 0.5})
    assert reader.read_files == []


def test_what_has_not_settled_is_entered_when_it_has(tmp_path, monkeypatch):
    do(store := driver(tmp_path), ROW, COLUMNS)
    store.keep()
    assert not (tmp_path / index.FILE).exists()
    monkeypatch.setattr(index, "SETTLED", 0)
    store.keep()
    assert told(reader := Reader(tmp_path)) == ({"seconds": 1}, {"success": 0.5})
    assert reader.read_files == []


@pytest.mark.parametrize("name", ["models/cell-a.bin", "metrics/cell-b.json"])
def test_what_changes_before_it_is_entered_counts_as_not_done(tmp_path, monkeypatch, name: str):
    do(store := driver(tmp_path), ROW, COLUMNS)
    in_place(tmp_path / name)
    monkeypatch.setattr(index, "SETTLED", 0)
    store.keep()
    assert store.output(ROW if "cell-a" in name else COLUMNS) is None
    assert told(Reader(tmp_path))[1] is None


def test_writers_at_once_and_a_resumed_one_leave_one_index(tmp_path, settled):
    one, two = driver(tmp_path), driver(tmp_path)
    do(one, ROW)
    do(two, COLUMNS)
    do(resumed := driver(tmp_path), ROW)  # again: its files are others
    assert len((tmp_path / index.FILE).read_bytes().splitlines()) == 3
    resumed.recall()
    resumed.keep()
    assert len((tmp_path / index.FILE).read_bytes().splitlines()) == 2
    assert told(reader := Reader(tmp_path)) == ({"seconds": 1}, {"success": 0.5})
    assert reader.read_files == []


def test_a_line_that_a_kill_has_torn_is_cut_off_by_the_next_writer(tmp_path, settled, caplog):
    do(driver(tmp_path), ROW)
    torn = (tmp_path / index.FILE).read_bytes()
    (tmp_path / index.FILE).write_bytes(torn + torn[: len(torn) // 2])
    do(driver(tmp_path), COLUMNS)
    assert told(reader := Reader(tmp_path)) == ({"seconds": 1}, {"success": 0.5})
    assert reader.read_files == []
    assert not caplog.records


def test_without_an_index_nothing_is_written_or_remembered(tmp_path, settled):
    do(store := Store(tmp_path), ROW, COLUMNS)
    store.keep()
    assert not store._young
    assert not (tmp_path / index.FILE).exists()


@pytest.mark.parametrize(
    ("pool", "shards"),
    [("serial", 1), pytest.param("serial", 2, marks=pytest.mark.slow), pytest.param("processes:2", 1, marks=pytest.mark.slow)],
)
def test_the_first_report_after_a_run_reads_no_cell(tmp_path, toy_run, settled, pool: str, shards: int):
    """And says the same as one without an index, to the last byte."""
    settings = [f"results={tmp_path}/results", "attacks=[{name: noise, norm: linf, eps: [8/255, 24/255], examples: 30}]"]
    experiment, root = load(toy_run, settings), tmp_path / "results/toy"
    for number in range(shards):
        runner.run(experiment, pool=pool, portion=Shard(number + 1, shards) if shards > 1 else None)
    reader, plan = Reader(root), make_plan(experiment, runner.load_data(experiment))
    assert all(reader.leaf(cell, dict) is not None if cell.metric else reader.manifest(cell) for cell in plan.cells)
    assert reader.read_files == []
    files = {file: file.read_bytes() for file in (*root.glob("tables/*"), *root.glob("figures/*"), root / "report.html")}
    assert len(files) > 8
    for name in (index.FILE, RECORD, "report.html"):
        (root / name).unlink()
    runner.run(experiment, compute=False)
    assert {file: file.read_bytes() for file in files} == files


def test_a_folder_in_its_place_is_named_and_a_link_is_put_away(tmp_path, toy_run, settled):
    shutil.copytree(toy_run.parent / "results/toy", root := tmp_path / "results/toy")
    (root / index.FILE).unlink(missing_ok=True)
    (root / index.FILE).mkdir()
    said = CliRunner().invoke(main, ["report", str(toy_run), "--set", f"results={tmp_path}/results"])
    assert said.exit_code == 0
    (line,) = (line for line in said.output.splitlines() if index.FILE in line)
    assert (
        line == f"warning: index: {root / index.FILE}: no file that can be read; without one all reports take their time, so remove what "
        "is there; the cells are read anew"
    )
    (root / index.FILE).rmdir()
    (elsewhere := tmp_path / "elsewhere").write_text("kept")
    (root / index.FILE).symlink_to(elsewhere)
    said = CliRunner().invoke(main, ["report", str(toy_run), "-q", "--set", f"results={tmp_path}/results"])
    assert (said.exit_code, elsewhere.read_text()) == (0, "kept")
    assert (root / index.FILE).is_file()
    assert not (root / index.FILE).is_symlink()
