"""What a ledger knows of a run's images and systems, kept beside its results when they are reported: the report reads it from there.

So a folder that is sent to somebody, or verified, says the same without the ledger, and after it has learnt more.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from advrun.closest import Closest, image_key
from advrun.console import Console
from advrun.errors import AdvrunError, ModelError
from advrun.files import content_key, inside, read_json, write_text
from advrun.identity import key_of
from advrun.images import blocks
from advrun.optimality import Target
from advrun.runs.needs import is_oracle
from advrun.runs.plan import Cell, Plan, draws_at_random
from advrun.runs.record import MAX_BYTES
from advrun.runs.store import Store

FILE = "nearest.json"
SYSTEMS = (".keras", ".npz")
"""Endings of the file of a system."""


def keep_known(plan: Plan, store: Store, console: Console) -> None:
    """Look up all that is attacked in a norm, and write the distances down. Does nothing where the experiment names no ledger."""
    folder = plan.experiment.ledger
    if not folder:
        return
    ledger = Closest(Path(folder))
    if not ledger.root.is_dir():
        console.warn(f"ledger {folder}: nothing is there yet; `advrun ledger add {folder} {store.root}` begins it")
    wanted: dict[Cell, set[str]] = {}
    for cell in plan.cells:
        if cell.kind == "measure" and cell.norm and can_be_told(cell.system):
            wanted.setdefault(cell.system, set()).add(cell.norm)
    images = _images(plan) if wanted else []
    found = []
    for system, norms in wanted.items():
        manifest = store.manifest(system, verify=False)
        name = next((name for name in manifest.files if name.endswith(SYSTEMS)), None) if manifest else None
        if name is None:
            continue
        try:
            key = key_of(inside(store.root, name))
        except ModelError as error:
            console.warn(str(error))
            continue
        for norm in sorted(norms):
            places = ledger.places(key, norm)
            distances = [places[image].distance if image in places else None for image in images]
            target = Target(system.model.label, system.defense_label, system.seed, norm)
            found.append({**target._asdict(), "system": key, "distances": distances})
    content = {"known": found}
    write_text(inside(store.root, FILE), json.dumps({**content, "seal": content_key(content)}, separators=(",", ":")))


def can_be_told(system: Cell) -> bool:
    """Whether one answer says whether an image is an example for a system: not where it is random, or can only be asked."""
    return not draws_at_random(system) and not is_oracle(system.model)


def known(store: Store) -> dict[Target, np.ndarray]:
    """What `keep_known` wrote, (images,) float64 by what it is of, inf where nothing is known. Raises ValueError for anything else."""
    return {
        Target(each["model"], each["defense"], each["seed"], each["norm"]): np.array(
            [math.inf if distance is None else distance for distance in each["distances"]], np.float64
        )
        for each in _form().validate_python(_read(store)[0])
    }


def is_sealed(store: Store) -> bool:
    """Whether `nearest.json` bears the seal that belongs to it, or is not there; False for one of an earlier version, which has none.

    Raises ValueError where the seal is another's."""
    return _read(store)[1]


def _read(store: Store) -> tuple[Any, bool]:
    """What is known, as it was written, and whether it is sealed. Raises ValueError where it was changed."""
    try:
        content = read_json(inside(store.root, FILE), MAX_BYTES)
    except FileNotFoundError:
        return [], True
    except AdvrunError as error:
        raise ValueError(str(error)) from error
    if isinstance(content, list):
        return content, False
    if not isinstance(content, dict) or content.pop("seal", None) != content_key(content) or content.keys() != {"known"}:
        raise ValueError("changed by hand")
    return content["known"], True


@cache
def _form() -> Any:
    from pydantic import TypeAdapter
    from typing_extensions import TypedDict

    class Entry(TypedDict):
        model: str
        defense: str
        seed: int
        norm: str
        system: str
        distances: list[float | None]

    return TypeAdapter(list[Entry])


def _images(plan: Plan) -> list[str]:
    """The keys of the test images that any attack meets, in evaluation order."""
    data = plan.data
    most = max((attack.examples or len(data.y_test) for attack in plan.experiment.attacks), default=0)
    return [image_key(image) for block in blocks(data.x_test[data.evaluation_order()[:most]]) for image in block]
