"""Attacks that learn before they attack: what their `fit` is handed to train networks with, and what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from advrun.checkpoints import Section
from advrun.console import Console
from advrun.engine import Counter
from advrun.npz import flattened, nested

History = dict[str, list[float]]
"""Training curves: a number for each epoch, by name."""
WHOLE = "training"
"""What files call a training that has no stages."""
PICTURES = ".pictures.npz"
"""How files of pictures end."""
LEARNT = ".learnt.npz"
"""How files end that hold what attacks learnt from images alone."""


@dataclass
class Lesson:
    """How an attack learns from images before it attacks the first: what its `fit` may ask for, to train networks by `train.Fit.of_attack`.

    A training that is killed goes on from its checkpoints, and ends as it would have ended. `histories` (curves by stage), `pictures`
    (epochs, k, h, w, c) uint8 by stage, and `notes`, sentences for the reader, are kept with the result.
    """

    seed: int = 0
    checkpoints: Section = field(default_factory=lambda: Section(None))
    console: Console = field(default_factory=lambda: Console(quiet=True))
    label: str = ""
    counter: Counter | None = None
    histories: dict[str, History] = field(default_factory=dict)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def asked(self) -> dict[str, int]:
        """Gradients and queries that the attacked model was asked for, before a kill too."""
        return {} if self.counter is None else {name: int(count.sum()) for name, count in self.counter.read().items()}

    def asked_already(self, asked: Mapping[str, int]) -> None:
        """So much had been asked at the point where the training goes on; what was asked again on the way there does not count twice."""
        if self.counter is not None:
            self.counter.go_on_from({name: asked.get(name, count) for name, count in self.asked().items()})


@dataclass(frozen=True, eq=False)
class Learnt:
    """What an attack learnt from images of the attacker's own before it attacked the first, and what that cost.

    fitted: any nested structure of arrays. histories: training curves by stage. pictures: (epochs, k, h, w, c) uint8 by stage. notes:
    sentences for the reader. asked: gradients and queries that the attacked model was asked for, in all. seconds: of learning.
    """

    fitted: Any = None
    histories: Mapping[str, History] = field(default_factory=dict)
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    asked: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def to_arrays(self) -> dict[str, np.ndarray]:
        """For a checkpoint."""
        told = {"histories": self.histories, "notes": self.notes, "asked": self.asked, "seconds": self.seconds}
        pictures = {f"pictures {stage}": images for stage, images in self.pictures.items()}
        return {**flattened(self.fitted), **pictures, "told": np.array(json.dumps(told))}

    @classmethod
    def from_arrays(cls, saved: Mapping[str, np.ndarray]) -> Learnt:
        """The inverse. Raises ValueError, or another error, where the arrays are none of it."""
        told = json.loads(str(saved["told"]))
        pictures = {name.removeprefix("pictures "): images for name, images in saved.items() if name.startswith("pictures ")}
        return cls(nested(saved), told["histories"], pictures, tuple(told["notes"]), told["asked"], float(told["seconds"]))


def merged_history(histories: Mapping[str, History]) -> History:
    """The curves of all stages as one mapping; a stage's name goes before the curve's where there are several."""
    return {f"{stage} {name}".strip(): curve for stage, history in histories.items() for name, curve in history.items()}
