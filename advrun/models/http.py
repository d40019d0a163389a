"""Any classifier that answers JSON over HTTP, described by where things stand in what is sent and in what comes back."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from advrun.errors import ConfigError, ModelError
from advrun.system.oracle import LIMITS, Answer, Limits, Oracle, Unanswered, as_png
from advrun.system.wire import Key, Wire
from advrun.types import Count


def http(
    *,
    url: str,
    image_at: str = "image",
    body: str = "{}",
    scores_at: str = "",
    labels_at: str = "",
    class_at: str = "",
    error_at: str = "",
    classes: Count | None = None,
    class_names: tuple[str, ...] = (),
    labels: tuple[str, ...] = (),
    first: Count = 1,
    key: str = "",
    key_header: str = "Authorization",
    key_prefix: str = "Bearer ",
    limits: Limits = LIMITS,
) -> Oracle:
    """Any JSON classifier: each image is sent as a PNG in base64, and paths say where it goes and where the answer stands.

    A path is made of names and numbers between dots, and `*` for every item of a list: `predictions.*.score`. Either `scores_at` leads to a
    list of probabilities, one for each class; or `labels_at` and `scores_at` lead to labels and their scores; or `class_at` to a class
    number, and then the service gives decisions alone.

    Args:
        url: where images are posted to.
        image_at: path of the image in what is sent.
        body: the rest of what is sent, as JSON.
        scores_at: path of the scores.
        labels_at: path of the labels that the scores belong to.
        class_at: path of the class number.
        error_at: path of a message where the service failed on the image, though it says 200; such an image is sent again.
        classes: how many there are, where the answer lists probabilities or a class number; as many as class_names by default.
        class_names: names of the classes, in the order of their numbers.
        labels: "LABEL = CLASS", what labels mean as classes of the data, by name or number. Without any, the first label that a clean image
            gets is the true one.
        first: an image is right while its class is among so many first answers.
        key: environment variable that holds a key; empty for none.
        key_header: the header that it is sent in.
        key_prefix: what stands before it there.
        limits: budget, patience and price.
    """
    counted = classes or len(class_names) or None
    if bool(class_at) == bool(scores_at):
        raise ConfigError("model 'http': give either scores_at (with labels_at where labels have scores), or class_at")
    if counted is None and not labels_at:
        raise ConfigError("model 'http': classes is missing; expected how many there are, or class_names")
    wire = Wire(url, limits, Key(key) if key else None, key_header, key_prefix)
    asking = partial(ask, wire, image_at, _parsed(body), (scores_at, labels_at, class_at, error_at))
    return Oracle(
        (None, None, None),
        None if labels_at else counted,
        asking,
        name="http",
        class_names=() if labels_at else class_names,
        gives="decisions" if class_at else "scores",
        labels=labels,
        first=first,
        batch=1,
        limits=limits,
        place=wire.url,
    )


def ask(wire: Wire, image_at: str, body: Any, paths: tuple[str, str, str, str], images: np.ndarray) -> Sequence[Answer]:
    """The answer for one image. Raises Unanswered, ModelError."""
    scores_at, labels_at, class_at, error_at = paths
    content = put(copy.deepcopy(body), image_at, base64.b64encode(as_png(images[0])).decode())
    reply = wire.post("", content)
    if error_at and (error := at(reply, error_at, None)):
        raise Unanswered(f"the service failed on the image: {str(error)[:200]}")
    if class_at:
        found = at(reply, class_at)
        if isinstance(found, bool) or not isinstance(found, int):
            raise ModelError(f"{wire.url}: at {class_at} the answer has {found!r:.60}; expected a class number")
        return [found]
    scores = at(reply, scores_at)
    if not isinstance(scores, list):
        raise ModelError(f"{wire.url}: at {scores_at} the answer has {scores!r:.60}; expected a list of scores")
    if not labels_at:
        return [tuple(scores)]
    labels = at(reply, labels_at)
    if not isinstance(labels, list) or len(labels) != len(scores):
        raise ModelError(f"{wire.url}: at {labels_at} the answer has {labels!r:.60}; expected a label for each of the {len(scores)} scores")
    return [tuple(zip(labels, scores, strict=True))]


def _parsed(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise ConfigError(f"model 'http': body is {body!r:.60}, which is no JSON ({error})") from None


MISSING: Any = object()


def at(content: Any, path: str, default: Any = MISSING) -> Any:
    """What stands at a path; with a `*`, a list of what stands there in every item. Raises ModelError where nothing does."""
    step, _, rest = path.partition(".")
    if not step:
        return content
    if step == "*" and isinstance(content, list):
        return [at(item, rest, default) for item in content]
    if isinstance(content, dict) and step in content:
        return at(content[step], rest, default)
    if isinstance(content, list) and step.isdecimal() and int(step) < len(content):
        return at(content[int(step)], rest, default)
    if default is not MISSING:
        return default
    has = f"has {', '.join(map(str, list(content)[:8]))}" if isinstance(content, dict) else f"is {str(content)[:60]!r}"
    raise ModelError(f"the answer has nothing at {path!r}: there it {has}")


def put(content: Any, path: str, value: Any) -> Any:
    """The content with the value at a path; mappings and lists on the way are made."""
    step, _, rest = path.partition(".")
    if not step:
        return value
    if step.isdecimal():
        items = list(content) if isinstance(content, list) else []
        items += [{} for _ in range(int(step) + 1 - len(items))]
        items[int(step)] = put(items[int(step)], rest, value)
        return items
    known = dict(content) if isinstance(content, dict) else {}
    return {**known, step: put(known.get(step, {}), rest, value)}
