"""Random damage to files of every format that advrun reads: `python -m tests.fuzzing FORMAT FIRST COUNT`, in a process that may die.

A number is written before each damaged file is read, so that whoever started the process knows which one ended it; a line of JSON
follows for each that gave neither success nor an AdvrunError. `sample(FORMAT, folder)` is the whole file, `damaged(content, number)`
the damaged one: the same for the same number.
"""

from __future__ import annotations

import io
import json
import logging
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from advrun.errors import AdvrunError

SECONDS = 30
"""A read that takes longer ends the process."""
KINDS = ("flip", "flip", "bytes", "ones", "zeros", "truncate", "insert", "double", "splice", "number")


def damaged(content: bytes, number: int) -> bytes:
    """One to three damages of random kinds at random places."""
    rng = np.random.default_rng(number)
    result = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        kind, size = KINDS[rng.integers(len(KINDS))], len(result)
        if size < 2:
            break
        at, length = int(rng.integers(size)), int(min(2 ** rng.integers(0, 9), size))
        if kind == "flip":
            result[at] ^= 1 << int(rng.integers(8))
        elif kind == "truncate":
            del result[at:]
        elif kind == "insert":
            result[at:at] = rng.bytes(length)
        elif kind == "double":
            result[at:at] = result[at : at + length]
        elif kind == "splice":
            other = int(rng.integers(size))
            result[at : at + length] = result[other : other + length]
        elif kind == "number":  # sizes and offsets are little-endian numbers: make one of them large
            result[at : at + 4] = int(2 ** rng.integers(8, 32) - rng.integers(2)).to_bytes(4, "little")
        else:
            result[at : at + length] = {"bytes": rng.bytes(length), "ones": b"\xff" * length, "zeros": bytes(length)}[kind]
    return bytes(result)


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (12, 8, 8, 3), np.uint8), np.arange(12) % 3
    return {"x_train": images, "y_train": labels, "x_test": images[:6], "y_test": labels[:6], "class_names": np.array(["a", "b", "c"])}


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _hdf5(folder: Path, **arrays: np.ndarray) -> bytes:
    import h5py

    with h5py.File(folder / "sample.h5", "w") as file:
        for name, array in arrays.items():
            packed = {"compression": "gzip", "shuffle": True} if array.ndim == 4 else {}
            file.create_dataset(name, data=array.astype("S") if array.dtype.kind == "U" else array, **packed)
    return (folder / "sample.h5").read_bytes()


def _keras(path: Path) -> bytes:
    from advrun.engine import keras
    from advrun.system.modelfile import save_model

    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3), layers.BatchNormalization(), layers.Flatten(), layers.Dense(3)])
    model.save(path) if path.suffix == ".h5" else save_model(model, path)
    return path.read_bytes()


def _checkpoint(folder: Path) -> bytes:
    return _npz(x_adv=_arrays()["x_test"] / np.float32(255), gradients=np.ones(6, int), progress=np.array('{"history": {"loss": [1.0]}}'))


def _examples(folder: Path) -> bytes:
    from advrun.runs.examples import write_examples

    arrays = {"x_adv": _arrays()["x_test"] / np.float32(255), "attacked": np.ones(6, bool), "row": np.arange(6)}
    write_examples(arrays, "label", folder / "sample.h5")
    return (folder / "sample.h5").read_bytes()


def _prepared(folder: Path) -> bytes:
    arrays = _arrays()
    track = {"train/track": np.arange(12), "train/frame": np.arange(12), "test/number": np.arange(6)}
    names = {"train/images": "x_train", "train/labels": "y_train", "test/images": "x_test", "test/labels": "y_test"}
    return _hdf5(folder, **{name: arrays[key] for name, key in names.items()}, **track)


def _png(folder: Path) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_arrays()["x_test"][0]).save(buffer, "PNG")
    return buffer.getvalue()


def _row(folder: Path) -> bytes:
    from advrun.results import Result, Row

    row = Row("cnn", "none", "pgd", "adaptive", 0, 6, 0.5, (0.2, 0.8), 0.1, "linf", settings={"steps": 3}, metrics={"l2": 0.1, "x": None})
    labels = np.arange(6, dtype=np.int32)
    return Result(row, labels, labels, labels / np.float32(10)).to_json().encode()


def _gallery(folder: Path) -> bytes:
    from advrun.npz import pack
    from advrun.report.findings import Gallery

    images, labels = _arrays()["x_test"] / np.float32(255), np.arange(6)
    shares = labels / np.float32(10)
    names = ("cnn", "none", "pgd", "adaptive", 0, 0.1, "linf", "")
    return pack(
        Gallery(*names, images, images, None, labels, labels, labels, shares, shares, labels, shares, labels).to_arrays(), compressed=True
    )


CELL = SimpleNamespace(key="a" * 32, label="cell", stem="cell", needs=())


def _manifest(folder: Path) -> bytes:
    from advrun.runs.manifest import Manifest

    (folder / "models").mkdir(exist_ok=True)
    return Manifest(CELL.key, "cell", {"models/cell.txt": "0" * 32}, {}, {"seconds": 1.5, "python": "3.11"}).to_json().encode()


CSV = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n" + "".join(f"0000{i}.ppm;8;8;1;1;7;7;{i}\n" for i in range(9))
YAML = (Path(__file__).parents[1] / "configs/demo.yaml").read_text(encoding="utf-8")


def _read_checkpoint(path: Path) -> None:
    from advrun.checkpoints import Checkpoints

    arrays = Checkpoints(path.parent).get(path.stem, dict)
    if arrays is None and path.exists():
        raise RuntimeError("a checkpoint that cannot be used is still there")


def _read_arrays(path: Path) -> None:
    from advrun.datasets.arrays import arrays

    arrays(path=str(path))


def _read_prepared(path: Path) -> None:
    from advrun.datasets._prepared import prepared

    prepared(path, 8, True, True, last=True)


def _read_examples(path: Path) -> None:
    from advrun.runs.examples import read_examples

    read_examples(path, (6, 8, 8, 3))


def _read_model(path: Path) -> None:
    from advrun.system.modelfile import load_model

    load_model(path)


def _read_png(path: Path) -> None:
    from advrun.datasets._images import Source, read_images

    read_images([Source(path)], 8, ("PNG",), path.parent, "look at it")


def _read_csv(path: Path) -> None:
    from advrun.datasets._annotations import read_table

    read_table(path, path.parent, delimiter=";", name_column="Filename", tracked=False, classes=43)


def _read_yaml(path: Path) -> None:
    from advrun.config import load

    load(path)


def _read_row(path: Path) -> None:
    from advrun.results import Result

    try:
        Result.read(path)
    except ValueError as error:  # the store makes a line of it
        raise AdvrunError(str(error)) from error


def _read_gallery(path: Path) -> None:
    from advrun.report.findings import Gallery

    Gallery.read(path)


def _read_manifest(path: Path) -> None:
    from advrun.runs.store import Store

    (path.parent / "manifests").mkdir(exist_ok=True)
    path.rename(path.parent / "manifests/cell.json")
    Store(path.parent).manifest(CELL)


FORMATS: dict[str, tuple[str, Callable[[Path], bytes], Callable[[Path], None]]] = {
    "checkpoint": ("0.npz", _checkpoint, _read_checkpoint),
    "npz": ("data.npz", lambda folder: _npz(**_arrays()), _read_arrays),
    "hdf5": ("data.h5", lambda folder: _hdf5(folder, **_arrays()), _read_arrays),
    "prepared": ("data.h5", _prepared, _read_prepared),
    "examples": ("cell.h5", _examples, _read_examples),
    "keras": ("model.keras", lambda folder: _keras(folder / "sample.keras"), _read_model),
    "h5": ("model.h5", lambda folder: _keras(folder / "sample.h5"), _read_model),
    "png": ("image.png", _png, _read_png),
    "csv": ("GT.csv", lambda folder: CSV.encode(), _read_csv),
    "yaml": ("demo.yaml", lambda folder: YAML.encode(), _read_yaml),
    "row": ("row.json", _row, _read_row),
    "gallery": ("row.npz", _gallery, _read_gallery),
    "manifest": ("cell.json", _manifest, _read_manifest),
}
"""Name of the file, the whole file, and what reads it, for every format."""


def sample(name: str, folder: Path) -> bytes:
    """A whole file of a format."""
    return FORMATS[name][1](folder)


def peak() -> float:
    """MB of memory that this process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fuzz(name: str, first: int, count: int) -> None:
    """Read so many damaged files. The whole one is read first, and must be readable."""
    file, _, read = FORMATS[name]
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        content = sample(name, Path(folder))
        for number in (-1, *range(first, first + count)):
            print(number, flush=True)
            path = Path(folder) / file
            path.write_bytes(content if number < 0 else damaged(content, number))
            before = peak()
            signal.alarm(SECONDS)
            try:
                read(path)
            except AdvrunError as error:
                if number < 0 or "\n" in str(error):
                    print(json.dumps({"number": number, "error": f"not one line: {error}"}), flush=True)
            except BaseException as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]} ({last.filename}:{last.lineno})"
                print(json.dumps({"number": number, "error": what}), flush=True)
            signal.alarm(0)
            if number >= 0 and peak() - before > 500:
                print(json.dumps({"number": number, "error": f"{peak() - before:.0f} MB"}), flush=True)


if __name__ == "__main__":
    fuzz(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
