"""What the report is made from: plain data, gathered from the results folder by the runner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from advrun.errors import DataError
from advrun.npz import pack, unpack
from advrun.results import Result


@dataclass(frozen=True, eq=False)
class Gallery:
    """A few images before and after one attack, for the eye.

    model, defense, attack, threat, seed, eps, norm, target: as in `results.Row`.
    x, x_adv: (k, height, width, channels) float32 in [0, 1]. defended: the same shape, what the purifier in front of
        the classifier makes of x_adv, or None where there is no purifier.
    label, predicted, predicted_adv: (k,) int, the true class and the predictions on x and x_adv.
    confidence, confidence_adv: (k,) float in [0, 1], of the predicted classes.
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

    def to_arrays(self) -> dict[str, np.ndarray]:
        """One array per field, none of them of dtype object; a field that is None is left out."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: np.asarray(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Gallery:
        """The inverse of `to_arrays`. Raises KeyError when a field is missing."""
        values: dict[str, Any] = {"eps": None, "defended": None, **arrays}
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
            images, numbers = (gallery.x, gallery.x_adv, gallery.defended), (gallery.label, gallery.predicted, gallery.predicted_adv)
            if gallery.x.ndim != 4 or any(each is not None and (each.shape, each.dtype.kind) != (gallery.x.shape, "f") for each in images):
                raise ValueError("its images do not belong together")
            if any(each.shape != gallery.x.shape[:1] for each in (*numbers, gallery.confidence, gallery.confidence_adv)):
                raise ValueError("its classes do not belong to its images")
            return gallery
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: not a gallery ({error}); delete it and run again") from error


@dataclass(frozen=True, eq=False)
class Findings:
    """One experiment as the report sees it.

    name: of the results folder. title, description: for people. config_yaml: the resolved configuration as text.
    environment: versions, device and so on, in the order to be shown.
    results: measured rows (clean, static, adaptive, ...) in the order of the plan, without worst cases; models, defences
        and attacks are shown in the order in which they first appear here.
    histories: training curves by label ("lnet", "lnet / hybrid"): one value per epoch under names that end in "loss" or
        "accuracy", with "val_" in front for the validation images; "epoch" numbers the epochs, by default 1, 2, ...
    glossary: what each flag of the rows means, by flag.
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
    glossary: Mapping[str, str] = field(default_factory=dict)
