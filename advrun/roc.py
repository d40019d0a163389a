"""How well scores tell attacked images from clean ones: the ROC curve, the area under it, and the shares above the threshold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from advrun.npz import pack, unpack
from advrun.results import binomial_interval
from advrun.system.detectors import excess_of

SCORES = ".scores"
"""How the file of a row's scores ends."""


@dataclass(frozen=True, eq=False)
class Scored:
    """How suspicious a detector finds images, as their distance from its threshold: above 0 they are rejected.

    clean: (n,) float32, of clean test images. adversarial: (m,), of those that the network itself has right without the attack and
    wrong under it, whether they are rejected or not: successful adversarial examples, as in Xu et al. (2018, arXiv:1704.01155, section VI).
    """

    clean: np.ndarray
    adversarial: np.ndarray

    @classmethod
    def of(cls, before: np.ndarray, after: np.ndarray, y: np.ndarray) -> Scored:
        """From outputs (n, classes + 1) of a system with a detector, without the attack and under it, and the true classes (n,)."""
        right, wrong = before[:, :-1].argmax(-1) == y, after[:, :-1].argmax(-1) != y
        return cls(excess_of(before), excess_of(after)[right & wrong])

    @property
    def false_positives(self) -> float:
        """Share of the clean images that is rejected."""
        return float((self.clean > 0).mean())

    @property
    def detected(self) -> float | None:
        """Share of the adversarial images that is rejected; None where there are none."""
        return float((self.adversarial > 0).mean()) if len(self.adversarial) else None

    @property
    def detected_interval(self) -> tuple[float, float]:
        """Exact 95 % interval of that share; of no images from 0 to 1."""
        return binomial_interval(int((self.adversarial > 0).sum()), len(self.adversarial)) if len(self.adversarial) else (0.0, 1.0)

    @property
    def auroc(self) -> float | None:
        """P(an adversarial image's score > a clean one's), ties half (Hanley and McNeil, 1982); None where there are none."""
        if not len(self.adversarial):
            return None
        ordered = np.sort(self.clean)
        below, upto = (np.searchsorted(ordered, self.adversarial, side) for side in ("left", "right"))
        return float((below + upto).mean() / (2 * len(ordered)))

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """False and true positives, shares, at every threshold from the highest to the lowest: from (0, 0) to (1, 1)."""
        thresholds = np.unique(np.concatenate([self.clean, self.adversarial]))[::-1]
        both = []
        for scores in (self.clean, self.adversarial):
            above = len(scores) - np.searchsorted(np.sort(scores), thresholds, "left")
            both.append(np.concatenate([[0.0], above / max(len(scores), 1)]))
        return both[0], both[1]

    def write(self, path: Path) -> None:
        """Store as an .npz archive, under exactly this path."""
        path.write_bytes(pack({"clean": self.clean.astype(np.float32), "adversarial": self.adversarial.astype(np.float32)}))

    @classmethod
    def read(cls, path: Path) -> Scored:
        """What `write` stored. Raises ValueError where the file holds anything else."""
        arrays = unpack(path)
        if arrays.keys() != {"clean", "adversarial"} or any(each.ndim != 1 or each.dtype.kind != "f" for each in arrays.values()):
            raise ValueError("no scores of a detector")
        if not len(arrays["clean"]) or not all(np.isfinite(each).all() for each in arrays.values()):
            raise ValueError("scores of a detector that are no numbers")
        return cls(**arrays)


@dataclass(frozen=True, eq=False)
class Watched:
    """What a system's detector saw of one attack; labels as in `results.Row`."""

    model: str
    defense: str
    attack: str
    norm: str
    target: str
    eps: float | None
    threat: str
    seed: int
    scored: Scored
