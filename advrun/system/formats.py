"""What a model file is by its content, whatever its name ends in, and what it claims to hold; nothing of it is run.

Sizes are looked at before anything is allocated: a few kilobytes can claim gigabytes of weights.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advrun.errors import ModelError
from advrun.hdf5 import check_file, check_heaps

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", ("model.weights.h5", "model.weights.npz")
LARGE = 2**26
"""Bytes that any file may claim."""
FOLD = 20
"""How many times larger than what is stored the content may be beyond that: trained weights hardly compress."""
MUST = "expected a .keras or .h5 file of a whole model, as model.save writes it"
SAVE = "load it where it was made and write model.save('model.keras')"


@dataclass(frozen=True)
class Found:
    """A whole Keras model: its configuration, the version of Keras that wrote it, and how many weights its file holds."""

    kind: str
    """"keras" (a zip archive) or "hdf5"."""
    config: dict[str, Any]
    version: str
    weights: int
    gives_logit: bool
    """Whether its loss was binary cross-entropy of logits: then one output is a sigmoid's input."""


def find(path: Path) -> Found:
    """What the file holds. Raises ModelError, in one line with the way out, for all but a whole Keras model."""
    import h5py

    if path.is_dir():
        raise ModelError(f"{path}: {_no_file(path)}")
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    try:
        with open(path, "rb") as file:
            start = file.read(512)
        if zipfile.is_zipfile(path):
            return _zip(path)
        if h5py.is_hdf5(path):
            check_file(path)
            with h5py.File(path, "r") as archive:
                return _hdf5(path, archive)
    except ModelError:
        raise
    except Exception as error:  # zipfile and h5py raise many kinds for damaged bytes
        raise ModelError(f"{path}: damaged, copy or save it again ({_last_line(error)})") from error
    raise ModelError(f"{path}: {_no_model(start, path.suffix)}")


def _no_model(start: bytes, suffix: str) -> str:
    """What a file is that is neither zip nor HDF5, and what to do."""
    text = start.lstrip().lower()
    if not start:
        return f"empty; {MUST}"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the model itself: run `git lfs pull`, or download the file"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not a model: download the file itself"
    if start[4:8] == b"TFL3":
        return f"a TFLite model, which is made for inference and cannot be trained or differentiated; {SAVE} from the Keras model"
    if start.startswith((b"\x89HDF", b"PK")):
        return "damaged: it begins like a model and ends too early; copy or save it again"
    if start.startswith(b"\x80") and len(start) > 1 and start[1] <= 5:
        return f"a pickle (as PyTorch, scikit-learn or joblib write), which would run code; {MUST}"
    if text.startswith(b"{"):
        return f"JSON: an architecture without its weights; {SAVE}"
    if start.startswith(b"\x1f\x8b"):
        return "compressed by gzip: unpack it first"
    if suffix == ".pb":
        return f"a TensorFlow graph, which Keras 3 does not read; {SAVE}"
    if suffix == ".onnx" or any(name in start for name in (b"pytorch", b"tf2onnx", b"keras2onnx", b"onnx")):
        return f"an ONNX model; {MUST}"
    if suffix in (".keras", ".h5", ".hdf5"):
        return f"damaged, or no model: neither a zip archive nor HDF5; {MUST}"
    return f"no Keras model; {MUST}"


def _no_file(path: Path) -> str:
    """What a folder is that is taken for a model file, and what to do."""
    names = {file.name for file in path.iterdir()}
    if names & {"saved_model.pb", "saved_model.pbtxt"}:
        return f"a SavedModel folder, which Keras 3 does not read; {SAVE} (tf.keras of TensorFlow 2.12 to 2.15 can)"
    if CONFIG in names:
        return "an unpacked .keras file; keras.saving.load_model reads it, and model.save('model.keras') packs it"
    if names & {"checkpoint", "variables"} or any(name.endswith(".index") for name in names):
        return f"a TensorFlow checkpoint, which holds weights only; {SAVE}"
    inside = sorted(name for name in names if name.endswith((".keras", ".h5", ".hdf5")))
    return "a folder, not a model file; " + (f"name the file in it: {', '.join(inside[:5])}" if inside else MUST)


def _zip(path: Path) -> Found:
    with zipfile.ZipFile(path) as archive:
        sizes = {entry.filename: entry for entry in archive.infolist()}
        if any(entry.flag_bits & 1 for entry in sizes.values()):
            raise ModelError(f"{path}: encrypted; unpack it and save it without a password")
        claims = [(f"{entry.filename!r} in it", entry.file_size, entry.compress_size) for entry in sizes.values()]
        for claim in [*claims, ("it", sum(entry.file_size for entry in sizes.values()), path.stat().st_size)]:
            wrong = _excess(*claim)
            if wrong:
                raise ModelError(f"{path}: {wrong}")
        weights = next((name for name in WEIGHTS if name in sizes), None)
        if CONFIG not in sizes or not weights:
            raise ModelError(f"{path}: {_no_model_in_zip(sorted(sizes), weights)}")
        if sizes[CONFIG].file_size > LARGE:
            raise ModelError(f"{path}: its {CONFIG} of {_size(sizes[CONFIG].file_size)} is too large for an architecture")
        config = _json(path, archive.read(CONFIG))
        version = str(json.loads(archive.read(METADATA)).get("keras_version", "")) if METADATA in sizes else ""
        return Found("keras", config, version, _weights(path, archive, weights), _is_of_logits(config.get("compile_config")))


def _no_model_in_zip(names: list[str], weights: str | None) -> str:
    """What a zip archive is that is no .keras file, and what to do."""
    if weights or (CONFIG not in names and any(name.endswith(".weights.h5") for name in names)):
        return f"weights only, without the architecture; {SAVE}, not save_weights"
    if any(name.endswith("data.pkl") for name in names):
        return f"a PyTorch file; {MUST}"
    if any(name.endswith("saved_model.pb") for name in names):
        return f"a zipped SavedModel folder, which Keras 3 does not read; {SAVE}"
    if names and all(name.endswith(".npy") for name in names):
        return f"arrays (npz), not a model; {MUST}"
    inside = [name for name in names if name.endswith((".keras", ".h5", ".hdf5"))]
    if inside:
        return f"a zip archive with {inside[0]!r} inside: unpack it, and name that file"
    return f"a zip archive without {CONFIG if CONFIG not in names else WEIGHTS[0]}, so no .keras file; {MUST}"


def _weights(path: Path, archive: zipfile.ZipFile, name: str) -> int:
    """How many weights a .keras file holds."""
    size = archive.getinfo(name).file_size
    if name.endswith(".npz"):
        return size // 2  # of float16 at the least
    content = archive.read(name)  # all at once: to seek in an archive is slow
    check_heaps(content)
    import h5py

    with h5py.File(io.BytesIO(content), "r") as weights:
        return _declared(path, weights, size)


def _hdf5(path: Path, archive: Any) -> Found:
    count = _declared(path, archive, path.stat().st_size)
    weights = archive.get("model_weights", archive)
    version = _text(archive.attrs.get("keras_version", weights.attrs.get("keras_version", "")))
    if "model_config" not in archive.attrs:
        is_keras = {"layer_names", "layer_names0"} & set(archive.attrs) or {"layers", "_layer_checkpoint_dependencies"} & set(archive)
        what = f"weights only, without the architecture; {SAVE}, not save_weights" if is_keras else f"HDF5 without a model; {MUST}"
        raise ModelError(f"{path}: {what}")
    if version.startswith("1.") or (not version and "model_weights" in archive):
        raise ModelError(
            f"{path}: written by Keras {version or '1'}, which Keras 3 cannot read; load it and model.save it again with Keras 2.2 "
            "(pip install keras==2.2.5 tensorflow==1.15.5 'h5py<3' 'protobuf<3.21', Python 3.7)"
        )
    training = json.loads(_text(archive.attrs.get("training_config", "null")))
    return Found("hdf5", _json(path, _text(archive.attrs["model_config"])), version, count, _is_of_logits(training))


def _is_of_logits(training: Any) -> bool:
    """Whether what a file says of its training names binary cross-entropy, with the model's output as its logit."""
    said = json.dumps(training).lower().replace("_", "")
    return "binarycrossentropy" in said and '"fromlogits": true' in said


def _declared(path: Path, archive: Any, size: int) -> int:
    """The number of values in all data sets, by their shapes alone; links that leave the file are refused, and sizes that are not there."""
    import h5py

    total = values = 0

    def visit(name: str, link: Any) -> str | None:
        """What is wrong with an entry; nothing may be raised through HDF5."""
        nonlocal total, values
        if not isinstance(link, h5py.HardLink):
            return f"{name!r} in it is a link ({type(link).__name__}), which is not followed; save the model again"
        item = archive[name]
        if not isinstance(item, h5py.Dataset):
            return None
        if item.is_virtual or item.external:
            return f"{name!r} in it lies in another file, which is not read; save the model again"
        count = math.prod(item.shape or ())
        total, values = total + count * item.dtype.itemsize, values + count
        return _excess(f"{name!r} in it", count * item.dtype.itemsize, item.id.get_storage_size())

    wrong = archive.visititems_links(visit) or _excess("it", total, size)
    if wrong:
        raise ModelError(f"{path}: {wrong}")
    return values


def _excess(what: str, claimed: int, stored: int) -> str | None:
    """What is wrong with a claim that nothing stored bears out."""
    if claimed > LARGE and claimed > FOLD * stored:
        return f"{what} claims {_size(claimed)} and stores {_size(stored)}: no trained model, so nothing of it is read"
    return None


def _json(path: Path, text: str | bytes) -> dict[str, Any]:
    config = json.loads(text)
    if not isinstance(config, dict) or not isinstance(config.get("config"), (dict, list)):
        raise ModelError(f"{path}: its configuration is no Keras model; {MUST}")
    return config


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
