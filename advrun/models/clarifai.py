"""Clarifai's image recognition by its REST API (as attacked by Liu, Chen, Liu and Song, 2017, arXiv:1611.02770)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from advrun.errors import ModelError, printable
from advrun.system.oracle import LIMITS, Answer, Limits, Oracle, Unanswered, as_png
from advrun.system.wire import Key, Wire, is_here
from advrun.types import Count

LIST_PRICE = 1.2
"""Dollars for a thousand images (November 2026)."""
BATCH = 32
SUCCESS, MIXED = 10000, 10010
"""Status codes: all images were looked at, or some."""


def clarifai(
    *,
    url: str = "https://api.clarifai.com",
    user: str = "clarifai",
    app: str = "main",
    model: str = "general-image-recognition",
    labels: tuple[str, ...] = (),
    first: Count = 1,
    key: str = "CLARIFAI_PAT",
    limits: Limits = LIMITS,
) -> Oracle:
    """Clarifai's concepts of an image. It costs money: nothing is sent without --yes.

    Success is read from its concepts as from Google's labels: see `advrun show google_vision`. The real service was not reached when
    this was written: it is tested against a stand-in of the same protocol.

    Args:
        url: the service; an address of this machine costs nothing.
        user: whose model it is.
        app: the application that it belongs to.
        model: its name.
        labels: "CONCEPT = CLASS", what concepts mean as classes of the data, by name or number.
        first: an image is right while its class is among so many first concepts.
        key: environment variable that holds a personal access token; empty for none, on this machine.
        limits: budget, patience and price.
    """
    wire = Wire(url, limits, Key(key) if key else None, prefix="Key ")
    return Oracle(
        (None, None, None),
        None,
        partial(ask, wire, f"/v2/users/{user}/apps/{app}/models/{model}/outputs"),
        name="clarifai",
        labels=labels,
        first=first,
        batch=BATCH,
        limits=limits,
        place=f"{wire.url}, {user}/{app}/{model}",
        list_price=0.0 if is_here(url) else LIST_PRICE,
    )


def ask(wire: Wire, path: str, images: np.ndarray) -> Sequence[Answer]:
    """One request for up to BATCH images. Raises Unanswered, ModelError."""
    inputs = [{"data": {"image": {"base64": base64.b64encode(as_png(image)).decode()}}} for image in images]
    reply = wire.post(path, {"inputs": inputs})
    code, words = status(reply)
    outputs = reply.get("outputs") if isinstance(reply, dict) else None
    if code not in (SUCCESS, MIXED) or not isinstance(outputs, list) or len(outputs) != len(images):
        raise ModelError(f"{wire.url}: status {code}: {words}; expected an output for each of the {len(images)} images")
    answers: dict[int, Answer] = {}
    failures = []
    for row, output in enumerate(outputs):
        own, why = status(output)
        if own != SUCCESS:
            failures.append(f"image status {own}: {why}")
            continue
        try:
            answers[row] = tuple((str(each["name"]), float(each["value"])) for each in output["data"].get("concepts", ()))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ModelError(f"{wire.url}: an output without concepts: {printable(str(output))[:100]}") from None
    if failures:
        raise Unanswered(f"{len(failures)} of {len(images)} images failed, the first with {failures[0]}", answers=answers)
    return [answers[row] for row in range(len(images))]


def status(content: Any) -> tuple[Any, str]:
    """Code and words of a status."""
    found = content.get("status") if isinstance(content, dict) else None
    found = found if isinstance(found, dict) else {}
    return found.get("code"), printable(str(found.get("description", "no status")))[:200]
