"""What the report is made from: plain data, gathered from the results folder by the runner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from advrun.certificates import Certificate
from advrun.config import Sweep
from advrun.errors import DataError
from advrun.npz import pack, unpack
from advrun.proof import Proof
from advrun.report.stickers import Signs
from advrun.results import Result
from advrun.roc import Watched

STEPS = 127
"""Steps of the stored change to either side."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Some images before and after one attack, for the eye: the first of the evaluation order, which are the same for every system,
    then those that fell first and that stood last.

    model, defense, attack, threat, seed, eps, norm, target: as in `results.Row`.
    x, x_adv: (k, height, width, channels) float32 in [0, 1]. defended: the same shape, what the purifier in front of
        the classifier makes of x_adv, or None where there is no purifier.
    label, predicted, predicted_adv: (k,) int, the true class and the predictions on x and x_adv.
    confidence, confidence_adv: (k,) float in [0, 1], of the predicted classes.
    place: (k,) int, where each image stands in the evaluation order. distance: (k,) float, how far it was moved, in the row's norm.
    rank: (k,) int, its place from the image that fell first, 0, to that which stood last; -1 for one that was wrong before the attack.

    On disk images are 8-bit numbers, and so is the change x_adv - x, as a share of its largest value in the image: small
    files, in which the smallest perturbation keeps its shape and its size.
    """

    model: str
    defense: str
    attack: str
    threat: str
    seed: int
    eps: float | None
    norm: str
    target: str
    x: np.ndarray
    x_adv: np.ndarray
    defended: np.ndarray | None
    label: np.ndarray
    predicted: np.ndarray
    predicted_adv: np.ndarray
    confidence: np.ndarray
    confidence_adv: np.ndarray
    place: np.ndarray
    distance: np.ndarray
    rank: np.ndarray

    @property
    def common(self) -> int:
        """How many of them are the first of the evaluation order: image by image the same as another system's."""
        return int(np.cumprod(self.place == np.arange(len(self.place))).sum())

    @property
    def right(self) -> np.ndarray:
        """(k,) bool: right before the attack."""
        return self.predicted == self.label

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays for the disk, none of them of dtype object; a field that is None is left out."""
        change = self.x_adv - self.x
        reach = np.abs(change).max(axis=(1, 2, 3), initial=0.0).astype(np.float32)
        values = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "x_adv"}
        values |= {"change": np.rint(change / _whole(reach) * STEPS).astype(np.int8), "reach": reach}
        values |= {name: np.rint(values[name] * 255).astype(np.uint8) for name in ("x", "defended") if values[name] is not None}
        return {name: np.asarray(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Gallery:
        """The inverse of `to_arrays`, up to rounding. Raises KeyError when a field is missing, ValueError when shapes differ."""
        values: dict[str, Any] = {"eps": None, "defended": None, **arrays}
        if values["reach"].shape != values["x"].shape[:1] or values["change"].shape != values["x"].shape:
            raise ValueError("its changes do not belong to its images")
        values |= {name: values[name].astype(np.float32) / 255 for name in ("x", "defended") if values[name] is not None}
        values["x_adv"] = values["x"] + values["change"].astype(np.float32) / STEPS * _whole(values["reach"])
        values = {entry.name: values[entry.name] for entry in fields(cls)}
        return cls(**{name: value if np.ndim(value) or value is None else value.item() for name, value in values.items()})

    def write(self, path: Path) -> None:
        """Store as .npz, under exactly this path."""
        path.write_bytes(pack(self.to_arrays(), compressed=True))

    @classmethod
    def read(cls, path: Path) -> Gallery:
        """Read what `write` stored; nothing is unpickled. Raises DataError when the file is not a whole gallery."""
        try:
            gallery = cls.from_arrays(unpack(path))
            images, numbers = (
                (gallery.x, gallery.x_adv, gallery.defended),
                (gallery.label, gallery.predicted, gallery.predicted_adv, gallery.place, gallery.rank),
            )
            if gallery.x.ndim != 4 or any(each is not None and (each.shape, each.dtype.kind) != (gallery.x.shape, "f") for each in images):
                raise ValueError("its images do not belong together")
            if any(each.shape != gallery.x.shape[:1] for each in (*numbers, gallery.confidence, gallery.confidence_adv, gallery.distance)):
                raise ValueError("its classes do not belong to its images")
            return gallery
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: not a gallery ({error}); delete it and run again") from error


def _whole(reach: np.ndarray) -> np.ndarray:
    """(k,) -> (k, 1, 1, 1), with 1 for images that were not changed."""
    return np.where(reach > 0, reach, 1).astype(np.float32)[:, None, None, None]


@dataclass(frozen=True, eq=False)
class Findings:
    """One experiment as the report sees it.

    name: of the results folder. title, description: for people. config_yaml: the resolved configuration as text.
    environment: versions, device and so on, in the order to be shown.
    results: measured rows (clean, static, adaptive, ...) in the order of the plan, without worst cases; models, defences
        and attacks are shown in the order in which they first appear here.
    histories: training curves by label ("lnet", "lnet / hybrid", "lnet / advgan / linf 8/255"): one value per epoch under names that
        end in "loss", "accuracy", "success" or "norm", with "val_" in front for the validation images; "epoch" numbers the epochs, by
        default 1, 2, ...
    sweeps: which defences are one at several strengths.
    growth: what a generator made after each epoch of its training, (epochs, k, height, width, channels) uint8, by the same labels.
    signs: what became of signs with stickers.
    watched: what detectors saw of attacks.
    certificates: how far no attack can reach, by system and bound.
    planned: which attacks are to be crafted on which models; None for all on all.
    proofs: which planted examples each attack finds, where `advrun prove` was run.
    """

    name: str
    title: str
    description: str
    config_yaml: str
    environment: Mapping[str, str]
    class_names: tuple[str, ...]
    results: list[Result]
    histories: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    galleries: list[Gallery] = field(default_factory=list)
    sweeps: tuple[Sweep, ...] = ()
    growth: Mapping[str, np.ndarray] = field(default_factory=dict)
    signs: list[Signs] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)
    planned: frozenset[tuple[str, str]] | None = None
    proofs: list[Proof] = field(default_factory=list)
