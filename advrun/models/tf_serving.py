"""A model behind TensorFlow Serving's REST protocol (Olston et al., 2017, arXiv:1712.06139); `advrun serve` speaks it too."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, NoReturn

import numpy as np

from advrun.engine import to_unit
from advrun.errors import ConfigError, ModelError
from advrun.system.oracle import LIMITS, Answer, Limits, Oracle, as_png
from advrun.system.wire import Key, Wire, checked_url
from advrun.types import Natural

BATCH = 32


def tf_serving(
    *,
    url: str = "http://127.0.0.1:8501",
    model: str = "model",
    version: Natural | None = None,
    send: Literal["pixels", "levels", "png"] = "pixels",
    scores: Literal["probabilities", "logits"] = "probabilities",
    class_names: tuple[str, ...] = (),
    key: str = "",
    limits: Limits = LIMITS,
) -> Oracle:
    """A classifier that TensorFlow Serving serves (REST, `:predict`); shape and classes come from its metadata.

    `advrun serve MODEL` serves a local one over the same protocol.

    Args:
        url: where it listens.
        model: what it calls the model.
        version: of the model; null for the one that the server takes by itself.
        send: what stands for an image: numbers from 0 to 1, numbers from 0 to 255, or a PNG file in base64 ({b64: ...}).
        scores: what the answers hold.
        class_names: names of the outputs, in their order.
        key: environment variable that holds a key, sent as `Authorization: Bearer ...`; empty for none.
        limits: budget, patience and price.
    """
    checked_url(url, bool(key))
    wire = Wire(url, limits, Key(key) if key else None, prefix="Bearer ")
    path = f"/v1/models/{model}" + ("" if version is None else f"/versions/{version}")
    shape, classes = outline(wire.get(f"{path}/metadata"), f"{url}{path}")
    return Oracle(
        shape if send != "png" else (None, None, None),
        classes or len(class_names) or _unknown(f"{url}{path}"),
        partial(ask, wire, f"{path}:predict", send),
        name=f"tf_serving {model}",
        class_names=class_names,
        meaning=scores,
        batch=BATCH,
        limits=limits,
        place=f"{wire.url}{path}",
    )


def ask(wire: Wire, path: str, send: str, images: np.ndarray) -> Sequence[Answer]:
    """One request. Raises Unanswered, ModelError."""
    return _answers(wire.post(path, _content(send, images)), wire.url)


def _content(send: str, images: np.ndarray) -> dict[str, Any]:
    if send == "png":
        return {"instances": [{"b64": base64.b64encode(as_png(image)).decode()} for image in images]}
    # The shortest decimal of a float32 is read as that float32 again.
    values = images if send == "levels" else to_unit(images).astype("U12").astype(np.float64)
    return {"instances": values.tolist()}


def _answers(reply: Any, place: str) -> list[Answer]:
    found = reply.get("predictions") if isinstance(reply, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(each, list) for each in found):
        raise ModelError(f"{place}: the answer has no predictions, a list of scores for each image; got {str(reply)[:100]!r}")
    return [tuple(each) for each in found]


def _unknown(place: str) -> NoReturn:
    raise ConfigError(f"{place}: its metadata do not say how many classes there are; name them by class_names")


def outline(metadata: Any, place: str) -> tuple[tuple[int | None, int | None, int | None], int | None]:
    """Image shape and number of classes, from the signature in the metadata; None for what it leaves open. Raises ModelError."""
    try:
        signatures = metadata["metadata"]["signature_def"]["signature_def"]
        signature = signatures.get("serving_default") or next(iter(signatures.values()))
        (inputs,), (outputs,) = signature["inputs"].values(), signature["outputs"].values()
        shape = _sides(inputs["tensor_shape"])
        classes = _sides(outputs["tensor_shape"])[-1:]
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        raise ModelError(f"{place}: its metadata show no model with one input and one output") from None
    if len(shape) != 4:
        return (None, None, None), classes[0] if classes else None
    return (shape[1], shape[2], shape[3]), classes[0] if classes else None


def _sides(tensor_shape: Any) -> list[int | None]:
    """Of a TensorShapeProto as JSON, where sides are text; -1 is any."""
    return [None if int(dim["size"]) < 0 else int(dim["size"]) for dim in tensor_shape.get("dim", [])]
