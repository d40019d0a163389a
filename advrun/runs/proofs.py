"""The cells of `advrun prove`: each attack of a plan on a system of its own that is altered so that examples surely exist."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from advrun import registry
from advrun.errors import AdvrunError, ConfigError
from advrun.files import content_key, inside, read_json, write_text
from advrun.proof import Proof
from advrun.runs.columns import aim
from advrun.runs.keys import work_key
from advrun.runs.needs import is_oracle
from advrun.runs.plan import Cell, Plan
from advrun.runs.store import Store

ASKED = "proofs/asked.json"
"""Where the results folder keeps on how many images the last test was made."""


@dataclass(frozen=True, eq=False)
class ProofCell(Cell):
    """count: so many images are tried. within: in which eps an example is planted; 0 where that cannot be, for `reason`."""

    count: int = 0
    within: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Planting:
    """What `advrun prove` does of a plan. images: clean test images in which an example is planted, at most."""

    images: int

    def among(self, plan: Plan, cells: Sequence[Cell]) -> tuple[Cell, ...]:
        """As of a portion of a run (`shares.py`). Raises ConfigError for a configuration without attacks."""
        if not plan.experiment.attacks:
            raise ConfigError(f"{plan.experiment.at('attacks')}: there is none to be tested; add one, such as {{name: pgd, eps: 8/255}}")
        return tuple(_cells(plan, self.images))


def cells(plan: Plan, images: int) -> tuple[Cell, ...]:
    """What is to be trained, and the test of each attack of the plan on each system that it meets itself."""
    return tuple(_cells(plan, images))


def _cells(plan: Plan, images: int) -> Iterator[Cell]:
    for cell in plan.cells:
        if cell.kind == "train":
            yield cell
        elif cell.kind == "attack":
            yield _proof(plan, cell, images)


def _proof(plan: Plan, attack: Cell, images: int) -> ProofCell:
    within = attack.eps or _largest(plan, attack.norm)
    reason = _obstacle(attack, within)
    images = min(images, len(plan.data.y_test))
    content: list[Any] = ["prove", attack.key, work_key("prove"), images, within, reason]
    return ProofCell(
        kind="prove",
        stage=attack.stage,
        label=f"{attack.label} prove",
        key=content_key(content),
        needs=(attack.system,),
        model=attack.model,
        defense=attack.defense,
        seed=attack.seed,
        attack=attack.attack,
        eps=attack.eps,
        count=images,
        within=0.0 if reason else within,
        reason=reason,
    )


def _largest(plan: Plan, norm: str) -> float:
    """The largest eps of the configuration in this norm, 0 where there is none."""
    return max((eps for attack in plan.experiment.attacks if attack.norm == norm for eps in attack.eps or ()), default=0.0)


def _obstacle(attack: Cell, within: float) -> str:
    """Why an attack cannot be tested, "" where it can."""
    if attack.attack is None or not attack.norm:
        return "it has no norm, and so no ball to plant an example in"
    plugin = registry.get("attacks", attack.attack.name)
    if is_oracle(attack.model):
        return "a model that can only be asked cannot be given a new last layer"
    if plugin.learns:
        return "it learns from other images, and here each image has a last layer of its own"
    if plugin.access == "blind":
        return "it asks the system nothing, and cannot know what was planted"
    if not within:
        return "no attack of the configuration says within which eps of its norm to plant an example"
    return ""


def asked(store: Store) -> int:
    """On how many images the last test was made; 0 where none was."""
    try:
        content = read_json(inside(store.root, ASKED))
    except (OSError, ValueError, AdvrunError):
        return 0
    images = content.get("images") if isinstance(content, dict) else None
    return images if isinstance(images, int) and images > 0 else 0


def remember(store: Store, images: int) -> None:
    """Keep on how many images it was made."""
    write_text(inside(store.root, ASKED), json.dumps({"images": images}))


def proven(plan: Plan, store: Store) -> list[Proof]:
    """The tests that are done, in the order of the plan. Raises AdvrunError where one cannot be read."""
    images = asked(store)
    found = cells(plan, images) if images else ()
    return [store.read(cell, ".json", Proof.read) for cell in found if isinstance(cell, ProofCell) and store.manifest(cell)]


def outline(cell: ProofCell) -> dict[str, Any]:
    """What is known of a proof before it is made."""
    return {
        "model": cell.model.label,
        "defense": cell.defense_label,
        "attack": cell.attack_label,
        "seed": cell.seed,
        "norm": cell.norm,
        "eps": cell.within or cell.eps,
        "target": aim(cell),
        "minimal": cell.eps is None,
        "left_out": 0,
        "reason": cell.reason,
    }
