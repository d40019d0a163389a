"""Keras models as files: read in safe mode, whatever Keras wrote them; written so that they can be read again."""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from advrun import registry
from advrun.engine import keras
from advrun.errors import ModelError
from advrun.system.formats import CONFIG, SAVE, Found, find
from advrun.system.repair import repaired

ENDINGS = {"keras": ".keras", "hdf5": ".h5"}
SPARE = 2**24
"""Weights that a model may have beyond those in its file (none are, but for those that do not train)."""
WIDEST = 2**26
"""Values that one layer may give for one image."""


def load_model(path: str | Path) -> Any:
    """A Keras model from its file, in safe mode: code inside the file is refused, not run.

    What the file is, its content says and not its ending: a `.keras` archive, or HDF5; also of Keras 2.

    Raises:
        ModelError: for everything else, in one line with the path, the version of Keras that wrote the file, and the way out.
    """
    path = Path(path).expanduser()
    found = find(path)
    config = repaired(found.config)
    registry.load_layers()
    try:
        with _as_keras_reads_it(path, found, config) as place, _no_more_weights(path, found):
            model = keras.models.load_model(place, compile=False, safe_mode=True)
    except _Excess as error:
        raise ModelError(str(error)) from None
    except ModelError:
        raise
    except Exception as error:  # Keras raises many kinds for one cause: the file is not a model that can be read safely
        raise ModelError(f"{path}: {_reason(error, found)}") from error
    _check_width(path, model)
    return _with_sigmoid(model) if found.gives_logit else model


def _with_sigmoid(model: Any) -> Any:
    """A model of one output that was trained as a logit, with the sigmoid that its loss held: so the model says it itself."""
    if getattr(model, "outputs", None) is None or len(model.outputs) != 1 or model.outputs[0].shape[1:] != (1,):
        return model
    return keras.Model(model.inputs, keras.layers.Activation("sigmoid")(model.outputs[0]), name=model.name)


@contextmanager
def _as_keras_reads_it(path: Path, found: Found, config: dict[str, Any]) -> Iterator[Path]:
    """The file itself, or, where its name ends otherwise or its configuration was repaired, a link to it or a copy."""
    import h5py

    ending = ENDINGS[found.kind]
    if config == found.config and path.suffix == ending:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="advrun-") as folder:
        place = Path(folder, f"model{ending}")
        if config == found.config:
            os.symlink(path.resolve(), place)
        elif found.kind == "hdf5":
            shutil.copyfile(path, place)
            with h5py.File(place, "r+") as archive:
                del archive.attrs["model_config"]
                archive.attrs["model_config"] = json.dumps(config)
        else:
            _rezip(path, place, {CONFIG: json.dumps(config).encode()})
        yield place


def _rezip(path: Path, place: Path, changed: dict[str, bytes]) -> None:
    """A copy of a zip archive, uncompressed, with other content for some members."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(place, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, changed.get(name) or archive.read(name))


@contextmanager
def _no_more_weights(path: Path, found: Found) -> Iterator[None]:
    """Refuse a model that makes more weights than its file holds, before they are allocated: a line of JSON can ask for gigabytes."""
    add_weight = keras.layers.Layer.add_weight
    made = 0

    def counted(self: Any, shape: Any = None, *args: Any, **kwargs: Any) -> Any:
        nonlocal made
        sides = (shape,) if isinstance(shape, int) else tuple(shape or ())
        made += math.prod(side for side in sides if side is not None)
        if made > found.weights + SPARE:
            raise _Excess(f"{path}: its layers have {made:,} weights or more, and the file holds {found.weights:,}: nothing of it is read")
        return add_weight(self, shape, *args, **kwargs)

    keras.layers.Layer.add_weight = counted
    try:
        yield
    finally:
        keras.layers.Layer.add_weight = add_weight


class _Excess(BaseException):
    """Passes through Keras, which catches every Exception on its way."""


def _check_width(path: Path, model: Any) -> None:
    """Refuse layers whose outputs would fill the memory: a padding of 100,000 pixels costs nothing to write."""
    for layer in model._flatten_layers():
        for node in layer._inbound_nodes:
            for output in node.output_tensors:
                if math.prod(side for side in output.shape if side) > WIDEST:
                    raise ModelError(f"{path}: layer {layer.name!r} gives {tuple(output.shape)} for one image, which no memory holds")


def _reason(error: BaseException, found: Found) -> str:
    """Why Keras does not load the model, and what to do: the last line of its message, unless a better one is known."""
    said = str(error)
    by = f"written by Keras {found.version}; " if found.version and not found.version.startswith("3.") else ""
    own = re.search(r"Could not locate (class|function) '([^']+)'|Unknown (?:layer|\w+): '([^']+)'", said)
    if "lambda" in said.lower():
        return f"{by}holds Python code (a Lambda layer), which is never run from a file; use a layer of Keras instead, and save it again"
    if "allow_pickle" in said:
        return f"{by}holds a pickle, which would run code and is never read; {SAVE}"
    if "TFSMLayer" in said or "TorchModuleWrapper" in said:
        return f"{by}holds a layer that runs another program's file, which is never done; {SAVE} from Keras layers"
    if own:
        return f"{by}{_own(own[2] or own[3], own[1] or 'class', said, found)}"
    lines = [re.sub(r"\x1b\[\d+m", "", line).strip() for line in said.partition("\nArguments received by")[0].splitlines()]
    lines = [line for line in lines if line] or [type(error).__name__]
    cause = lines[-1].removeprefix("Exception encountered: ")
    if len(lines) > 1 and cause.startswith(("List of objects", "[<")):
        cause = next((line for line in lines[1:] if not line.startswith(("List of", "[<"))), cause)
    cause = cause if len(cause) <= 300 else f"{cause[:300]} ..."
    way = SAVE if by or found.kind == "hdf5" else "damaged, or not what its layers say; save it again"
    return f"{by}Keras {keras.__version__} cannot load it ({type(error).__name__}: {cause}); {way}"


def _own(name: str, kind: str, said: str, found: Found) -> str:
    """What to do about a class or function that Keras does not know."""
    if found.kind == "hdf5" and kind == "class" and _is_operation(name):
        return f"an operation ({name}) cannot be read back from HDF5; {SAVE}"
    if name in ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"):
        return f"holds a TensorFlow function ({name}), which Keras 3 does not read; use a layer instead (Rescaling for x / 127.5 - 1)"
    registered = re.search(r"'registered_name': '([^'>]*)>" + re.escape(name.split(">")[-1]), said)
    package = registered[1] if registered else name.split(">")[0] if ">" in name else ""
    name = name.split(">")[-1]
    decorator = f'@keras.saving.register_keras_serializable("{package}")' if package else "@keras.saving.register_keras_serializable()"
    return (
        f"{name!r} is no {'layer' if kind == 'class' else 'function'} of Keras: put its Python code, with {decorator} above it, "
        f"into FOLDER/layers/{name.lower()}.py, and run with --plugins FOLDER"
    )


def _is_operation(name: str) -> bool:
    """Whether Keras has an operation (`keras.ops.sigmoid`) whose class is called so (`Sigmoid`)."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return hasattr(keras.ops, snake) or hasattr(keras.ops, name.lower())


def save_model(model: Any, path: Path) -> None:
    """Write a `.keras` file with the same bytes for the same model: Keras itself puts in the time, and memory addresses.

    Raises:
        ModelError: when what was written cannot be loaded again in safe mode, or then gives other outputs.
    """
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        content = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    metadata = json.loads(content["metadata.json"])
    content["metadata.json"] = json.dumps({**metadata, "date_saved": ""}).encode()
    seen: dict[bytes, bytes] = {}

    def numbered(match: re.Match[bytes]) -> bytes:
        return match[1] + seen.setdefault(match[2], b"%d" % len(seen))

    content["config.json"] = re.sub(rb'("shared_object_id": )(\d+)', numbered, content["config.json"])
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    path.write_bytes(whole.getvalue())
    _check_saved(model, path)


def _check_saved(model: Any, path: Path) -> None:
    """Load back what was written: better one refusal now than one in every cell that needs the file."""
    try:
        again = load_model(path)
    except ModelError as error:
        raise ModelError(f"model {model.name!r} could not be loaded again: {str(error).removeprefix(f'{path}: ')}") from error
    x = probe(model, 2)
    if not np.allclose(model(x, training=False), again(x, training=False), rtol=1e-3, atol=1e-4, equal_nan=True):
        raise ModelError(f"model {model.name!r} gives other outputs when it is loaded again: a layer keeps something that is not saved")


def probe(model: Any, n: int) -> np.ndarray:
    """(n, height, width, channels) float32 noise in [0, 1] that the model takes; a side that may be any is 32, or 224 if that fails."""
    shape = model.inputs[0].shape[1:]
    rng = np.random.default_rng(0)
    x = rng.random((n, *(side or 32 for side in shape)), np.float32)
    if None in shape[:2]:
        try:
            model(x[:1], training=False)
        except Exception:  # whatever the first layer raises that finds nothing left of the image
            return rng.random((n, *(side or 224 for side in shape)), np.float32)
    return x
