"""Damaged files of every format that advrun reads give one line or success: no traceback, no crash, no memory beyond reason."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from advrun.hdf5 import check_heaps
from tests.fuzzing import FORMATS


def faults(name: str, count: int) -> list[str]:
    """What went wrong. A process that died is started again behind the file that ended it."""
    found, first = [], 0
    while first < count:
        command = [sys.executable, "-m", "tests.fuzzing", name, str(first), str(count - first)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = run.stdout.splitlines()
        found += [line for line in lines if line.startswith("{")]
        numbers = [int(line) for line in lines if not line.startswith("{")]
        if run.returncode == 0:
            assert numbers[-1] == count - 1
            break
        assert numbers, run.stderr
        assert numbers[-1] >= 0, run.stderr
        found.append(json.dumps({"number": numbers[-1], "error": f"the process ended with {run.returncode}"}))
        first = numbers[-1] + 1
    return found


OFTEN = ("checkpoint", "keras", "manifest", "npz", "prepared", "yaml")
"""Formats that are tried in `make test`; the others, and many more damages, when there is time."""


@pytest.mark.parametrize("name", OFTEN)
def test_damage_gives_one_line(name):
    assert faults(name, 25) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_a_thousand_damages_give_one_line(name):
    assert faults(name, 1000) == []


BOMBS = '''
import io, json, sys, zipfile
from pathlib import Path
import h5py, numpy as np
from advrun.errors import AdvrunError
from advrun.checkpoints import Checkpoints
from advrun.report.findings import Gallery
from advrun.results import Result
from advrun.runs.examples import read_examples
from advrun.runs.store import Store
from tests.fuzzing import CELL, peak

folder = Path(sys.argv[1])

def npz(path, size):
    """An archive of a few MB that declares, and holds, so many bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (size,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open("x.npy", "w") as member:
        member.write(header.getvalue())
        for _ in range(size >> 20):
            member.write(bytes(1 << 20))

npz(folder / "0.npz", 700 << 20)
(folder / "gallery.npz").write_bytes((folder / "0.npz").read_bytes())
with h5py.File(folder / "examples.h5", "w") as file:
    file.create_dataset("x_adv", (700 << 8, 32, 32, 1), "f4", chunks=(1 << 8, 32, 32, 1), compression="gzip")
    file["row"] = np.arange(6)
(folder / "rows.json").write_text("[" + "[]," * (21 << 20) + "[]]")
(folder / "manifests").mkdir()
(folder / "manifests/cell.json").write_text("[" + "{}," * (5 << 20) + "{}]")
works = {
    "checkpoint": lambda: Checkpoints(folder).get("0", dict),
    "gallery": lambda: Gallery.read(folder / "gallery.npz"),
    "examples": lambda: read_examples(folder / "examples.h5", (10_000, 32, 32, 1)),
    "manifest": lambda: Store(folder).manifest(CELL),
    "row": lambda: Result.read(folder / "rows.json"),
}
for name, work in works.items():
    before = peak()
    try:
        done = work() is not None
    except (AdvrunError, ValueError):
        done = False
    print(json.dumps([name, done, peak() - before]))
'''


def test_a_bomb_is_refused_before_it_takes_memory(tmp_path):
    run = subprocess.run([sys.executable, "-c", BOMBS, str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(found) == 5
    for name, done, megabytes in found:
        assert not done, name
        assert megabytes < 500, name


def test_a_heap_that_the_hdf5_library_would_read_for_ever_is_refused(tmp_path):
    import h5py

    with h5py.File(tmp_path / "names.h5", "w") as file:
        file["names"] = ["stop", "give way", "no entry"]
    content = (tmp_path / "names.h5").read_bytes()
    check_heaps(content)
    first = content.index(b"GCOL") + 16
    with pytest.raises(ValueError, match="heap at byte"):
        check_heaps(content[:first] + bytes(16) + content[first + 16 :])
