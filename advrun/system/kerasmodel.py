"""Keras models as files and as architectures: load, save, copy, and cut back to logits."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np

from advrun.engine import keras
from advrun.errors import ModelError
from advrun.hdf5 import check_file


def load_model(path: str | Path) -> Any:
    """A Keras model from a `.keras` or `.h5` file, in safe mode: code inside the file is refused, not run."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: {'a folder, not a' if path.is_dir() else 'no such'} model file")
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise ModelError(f"{path}: expected a .keras or .h5 file saved by Keras, not {path.suffix or 'a file without ending'}")
    if path.suffix == ".keras" and not is_zipfile(path):
        raise ModelError(f"{path}: damaged, or no .keras file: save the model again")
    try:
        if path.suffix != ".keras":
            check_file(path)
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for one cause: the file is not a model that can be read safely
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"{path}: Keras cannot load it ({type(error).__name__}: {reason})") from error


def fresh_copy(model: Any) -> Any:
    """The same architecture with new trainable weights; what is not trained (statistics of the data, frozen layers) is kept."""
    clone = keras.models.clone_model(model)
    for old, new in zip(model._flatten_layers(include_self=False), clone._flatten_layers(include_self=False), strict=True):
        if old.weights and not old.trainable_weights:
            new.set_weights(old.get_weights())
    return clone


def full_precision(model: Any) -> Any:
    """The same model computing in float32: gradients of attacks underflow in float16."""
    if all(layer.compute_dtype == "float32" for layer in model._flatten_layers(include_self=False)):
        return model

    def in_float32(layer: Any) -> Any:
        return layer.__class__.from_config({**layer.get_config(), "dtype": "float32"})

    clone = keras.models.clone_model(model, clone_function=in_float32, recursive=True)
    clone.set_weights(model.get_weights())
    return clone


def save_model(model: Any, path: Path) -> None:
    """Write a `.keras` file with the same bytes for the same model: Keras itself puts in the time, and memory addresses."""
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


def logits_model(model: Any) -> Any:
    """The same network from images to logits: a softmax at the end is cut off, also where there are two.

    Raises:
        ModelError: when the model has several inputs or outputs, or still gives probabilities (another squashing
            function, or a softmax inside a layer that cannot be opened).
    """
    if not isinstance(model, keras.Model):
        raise ModelError(f"got {type(model).__name__}; expected a Keras model, or the path of a .keras file")
    try:
        inputs, outputs = model.inputs, model.outputs
    except (AttributeError, ValueError):
        inputs = outputs = None
    if not inputs or not outputs or len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(f"model {model.name!r} must be built, with one image input and one output")
    if len(inputs[0].shape) != 4 or len(outputs[0].shape) != 2:
        raise ModelError(
            f"model {model.name!r} maps {tuple(inputs[0].shape)} to {tuple(outputs[0].shape)}; "
            "expected images (n, height, width, channels) to (n, classes)"
        )
    output = _without_softmax(model, outputs[0])
    if output is not outputs[0]:
        model = keras.Model(inputs[0], output, name=model.name)
    _check_logits(model)
    return model


def _without_softmax(model: Any, output: Any) -> Any:
    """The symbolic tensor before every softmax at the end of `output`."""
    while True:
        layer, node_index, _ = output._keras_history
        node = layer._inbound_nodes[node_index]
        activation = getattr(getattr(layer, "activation", None), "__name__", "")
        if isinstance(layer, keras.layers.Softmax) or (activation == "softmax" and isinstance(layer, keras.layers.Activation)):
            output = node.input_tensors[0]
        elif activation == "softmax" and isinstance(layer, keras.layers.Dense):
            linear = layer.from_config({**layer.get_config(), "activation": "linear", "name": f"{layer.name}_logits"})
            linear.build(node.input_tensors[0].shape)
            linear.set_weights(layer.get_weights())
            return linear(node.input_tensors[0])
        elif isinstance(layer, keras.Model) and len(layer.outputs) == 1:
            inner = _without_softmax(layer, layer.outputs[0])
            if inner is layer.outputs[0]:
                return output
            return keras.Model(layer.inputs[0], inner, name=layer.name)(node.input_tensors[0])
        elif isinstance(layer, (keras.layers.Dropout, keras.layers.Identity)) or (
            activation == "linear" and isinstance(layer, keras.layers.Activation)
        ):
            before = _without_softmax(model, node.input_tensors[0])
            return output if before is node.input_tensors[0] else before
        else:
            return output


def _check_logits(model: Any) -> None:
    """Refuse a model whose outputs look like probabilities (not negative, and rows with one and the same sum)."""
    side = [size or 32 for size in model.inputs[0].shape[1:]]
    probe = np.random.default_rng(0).random((8, *side), np.float32)
    outputs = np.asarray(model(probe, training=False), np.float32)
    classes = outputs.shape[-1]
    if not np.isfinite(outputs).all():
        raise ModelError(f"model {model.name!r} gives NaN or infinite outputs on images in [0, 1]")
    if classes < 2:
        raise ModelError(f"model {model.name!r} has {classes} output; a classifier needs at least 2 classes")
    inside = outputs.min() >= 0 and outputs.max() <= 1
    totals = outputs.sum(-1)
    if outputs.min() >= 0 and np.ptp(totals) <= 1e-2 * totals.mean():
        raise ModelError(f"model {model.name!r} gives probabilities, and its softmax cannot be cut off; save it so that it ends in logits")
    layer = model.layers[-1]
    while isinstance(layer, keras.Model):
        layer = layer.layers[-1]
    last = getattr(getattr(layer, "activation", None), "__name__", "")
    if inside and last in ("sigmoid", "hard_sigmoid"):
        raise ModelError(f"model {model.name!r} ends in {last}: attacks need logits, the layer's input; save the model without it")
