"""Who a system is, whatever its file, its label and the run that it is from: a hash of what it computes. Nothing is loaded.

Of a Keras model it is the hash of its weights, and of its layers, with their settings and how they follow each other; names and what only
matters in training are left out. It is asked of the form that a run keeps, which ends in logits and reads images in [0, 1]; so the softmax
of a file of somebody else's makes no difference, and what was said of its input (`input: {scale: 255}`) does. Of any other system it is the
hash of its defence, the settings, and what was learnt, with who the system below is. What a defence's code does is not in it.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from advrun.defend import DEEPEST, FILE, TEXT
from advrun.errors import ModelError
from advrun.files import content_key, inside
from advrun.npz import unpack
from advrun.system.formats import WEIGHTS, find

LENGTH = 32
"""Digits of a key: 128 bits."""
TRAINING = ("trainable", "dtype", "name", "build_config", "batch_shape", "batch_input_shape", "seed", "input_shape")
"""Settings of layers that change no answer, or are said by the weights."""
BEGINNINGS = ("_initializer", "_regularizer", "_constraint")


def key_of(path: Path, depth: int = 0) -> str:
    """Who the system is whose file a run has kept, `.keras` or `.npz`. Raises ModelError where it is none."""
    if path.suffix != FILE:
        return _of_network(path)
    if depth > DEEPEST:
        raise ModelError(f"{path}: more than {DEEPEST} defences, one upon the other")
    try:
        arrays = unpack(path, path.stat().st_size)
        content = json.loads(str(arrays.pop(TEXT)))
        base = inside(path.parent, str(content.pop("base")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: no defended system ({' '.join(str(error).split())})") from error
    learnt = {name: _hashed([(name, array)]) for name, array in arrays.items()}
    return content_key([content, learnt, key_of(base, depth + 1)])


def _of_network(path: Path) -> str:
    outline = _outline(find(path).config)
    try:
        with zipfile.ZipFile(path) as archive:
            return content_key([outline, _hashed(_weights(archive.read(WEIGHTS[0])))])
    except (OSError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: damaged, or not as a run keeps a network ({' '.join(str(error).split())})") from error


def _outline(part: Any) -> Any:
    """A layer as its kind and settings; a model as its layers, each with the places of those before it."""
    if isinstance(part, list):
        return [_outline(each) for each in part]
    if not isinstance(part, dict):
        return part
    config = part.get("config")
    if isinstance(config, dict) and isinstance(config.get("layers"), list):
        places = {layer["config"].get("name"): place for place, layer in enumerate(config["layers"])}
        return [[_outline(layer), [places.get(name) for name in _before(layer.get("inbound_nodes"))]] for layer in config["layers"]]
    if isinstance(config, dict) and "class_name" in part:
        return [part["class_name"], _outline(config)]
    return {key: _outline(value) for key, value in part.items() if key not in TRAINING and not key.endswith(BEGINNINGS)}


def _before(node: Any) -> Iterator[str]:
    """Names of the layers whose outputs a layer takes, in order."""
    if isinstance(node, dict):
        if "keras_history" in node:
            yield node["keras_history"][0]
        for value in node.values():
            yield from _before(value)
    elif isinstance(node, list):
        for each in node:
            yield from _before(each)


def _weights(content: bytes) -> list[tuple[str, np.ndarray]]:
    """The arrays of the file of weights by their path, but for the states of random generators."""
    import h5py

    found: list[tuple[str, np.ndarray]] = []

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and "seed_generator" not in name:
            found.append((name, np.asarray(node[()])))

    with h5py.File(io.BytesIO(content), "r") as file:
        file.visititems(visit)
    return sorted(found, key=lambda each: each[0])


def _hashed(arrays: list[tuple[str, np.ndarray]]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays:
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
