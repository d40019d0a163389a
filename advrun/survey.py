"""What an attack on signs shows beyond one image for each image: its stickers, and what becomes of them in photographs.

An attack that learns may hold a third function in its file, which is called when all images are attacked:

    survey(model, x, y, rng, fitted, *, SETTINGS) -> Survey

model is the classifier, or its targeted view; x the attacked images, (n, h, w, c) float32, y their targets, or true classes; fitted is
what `fit` made; of the settings it is handed those that it names.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from advrun import engine, registry
from advrun.attack import Attack
from advrun.craft import Crafted
from advrun.engine import Rng
from advrun.errors import DataError, PluginError
from advrun.npz import pack, unpack
from advrun.results import binomial_interval
from advrun.system import Classifier

SURVEY = ".survey.npz"
"""How its file ends."""
STICKER, NOISE, BARE = 0, 1, 2
"""The first axis of predictions: the sticker, random colours in its shape, and nothing."""
NO_CLASS = -1
"""The prediction of an image that a detector rejects."""
NOTHING, FREE, BLACK, WHITE = 0, 1, 2, 3
"""What a place of `cuts` holds: no sticker, the sticker's colours, a marker's core, a marker's ring."""


@dataclass(frozen=True, eq=False)
class Survey:
    """Stickers, and predictions of photographs of signs with them.

    stickers: (k, h, w, c + 1) float32: ink, and the share of each pixel that it hides. numbers: (k,) int32, their targets.
    cuts: (k, fine, fine) uint8, the same shapes for a printer. fill: the sign's width as a share of the image's.
    cover: (k,), share of the sign that each covers. targeted: whether `aims` are to be reached, or left. aims: (n,) int32.
    plain: (3, n) int16, predictions of the photographs as they are; moved: (3, n), each under one view at random; grid: (3, distances,
    angles, n), each at that distance and angle; `NO_CLASS` where a detector rejects one. distances: in units of that from which the sign
    has all pixels of the image.
    angles: degrees. pictures: (distances, angles, h, w, c) uint8, one photograph of the sign with its sticker.
    """

    stickers: np.ndarray
    numbers: np.ndarray
    cuts: np.ndarray
    fill: float
    cover: np.ndarray
    targeted: bool
    aims: np.ndarray
    plain: np.ndarray
    moved: np.ndarray
    grid: np.ndarray
    distances: np.ndarray
    angles: np.ndarray
    pictures: np.ndarray

    def reached(self, predictions: np.ndarray) -> np.ndarray:
        """Bool, in the predictions' shape (..., n): the attack's goal, which an image that is rejected never reaches."""
        same = predictions == self.aims
        return same if self.targeted else ~same & (predictions != NO_CLASS)

    def success(self, predictions: np.ndarray) -> tuple[float, float, float]:
        """Share (n,) of the photographs, and its exact 95 % interval."""
        found = self.reached(predictions)
        return (float(found.mean()), *binomial_interval(int(found.sum()), len(found)))

    def write(self, path: Path) -> None:
        """As .npz, under exactly this path."""
        path.write_bytes(pack({entry.name: np.asarray(getattr(self, entry.name)) for entry in fields(self)}, compressed=True))

    @classmethod
    def read(cls, path: Path) -> Survey:
        """What `write` wrote. Raises DataError where the file holds anything else."""
        try:
            arrays = unpack(path)
            values: dict[str, Any] = {entry.name: arrays[entry.name] for entry in fields(cls)}
            survey = cls(**values)
            k, n, views = len(survey.stickers), len(survey.aims), (len(survey.distances), len(survey.angles))
            shapes = [(survey.numbers, (k,)), (survey.cover, (k,)), (survey.cuts[:, 0, 0], (k,)), (survey.plain, (3, n))]
            shapes += [(survey.moved, (3, n)), (survey.grid, (3, *views, n)), (survey.pictures[..., 0, 0, 0], views)]
            if survey.stickers.ndim != 4 or any(array.shape != shape for array, shape in shapes) or n < 1:
                raise ValueError("arrays that do not belong together")
            numbers = (survey.stickers, survey.cover, survey.distances, survey.angles, survey.fill)
            if not all(np.isfinite(array).all() for array in numbers) or not 0 < float(survey.fill) <= 1:
                raise ValueError("values that no sticker has")
            return cls(**{**vars(survey), "fill": float(survey.fill), "targeted": bool(survey.targeted)})
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise DataError(f"{path}: no survey of a sticker ({error}); delete it and run again") from error


def surveyed(classifier: Classifier, attack: Attack, crafted: Crafted, x: np.ndarray, y: np.ndarray, seed: int) -> Survey | None:
    """The survey of an attack; None where it has none, or nothing was attacked. Raises PluginError for anything but a survey."""
    survey = attack.plugin.survey
    if survey is None or crafted.fitted is None:
        return None
    view = classifier if crafted.target is None else classifier.toward()
    rows = np.flatnonzero(crafted.attacked if crafted.target is None else crafted.attacked & (crafted.target != y))
    if not len(rows):
        return None
    labels = (y if crafted.target is None else crafted.target)[rows].astype(np.int32)
    wanted = registry.parameters(survey)
    settings = {name: value for name, value in attack.settings.items() if name in wanted}
    view.counter.start()
    found = survey(view, engine.to_unit(x[rows]), labels, Rng.from_seed(seed, 0x5E7), crafted.fitted, **settings)
    if not isinstance(found, Survey):
        raise PluginError(f"{registry.place('attacks', attack.plugin.name)}: survey returned {type(found).__name__}; expected a Survey")
    return found
