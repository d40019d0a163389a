"""Stored images and the answers to them, asked for again: box, grid, norm, labels and predictions; nothing is attacked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from advrun import defend, engine, registry
from advrun.data import Dataset
from advrun.errors import AdvrunError
from advrun.files import inside
from advrun.geometry import GEOMETRIES
from advrun.images import Images, blocks, by_blocks
from advrun.metrics import Outcome, Transferred, columns
from advrun.results import Result
from advrun.runs.examples import read_examples
from advrun.runs.runner import numbers
from advrun.system import Classifier
from advrun.verify.minutes import Minutes
from advrun.verify.rows import Claim, check_labels, labelled
from advrun.verify.seals import SYSTEM, Sealed

ROUNDING = 1e-3
"""By so much, as a share, a mean may come out otherwise on another processor."""
TIE, TIES = 1e-5, 0.005
"""By so much, as a share of the largest logit, may another processor round two classes into another order, for so many images."""
GRID = 1e-3
"""Of a grey level: how near to a multiple of 1/255 a pixel must be that somebody was asked about in 8 bits."""


@dataclass
class Asker:
    """The systems of a folder, loaded one at a time, with what they say to the clean images.

    replaced: systems that a file of the user's own stands in for, by label: a chain, or a Keras model. draws, batch_size: as in YAML.
    """

    root: Path
    data: Dataset
    minutes: Minutes
    replaced: Mapping[str, Any] = field(default_factory=dict)
    draws: int = 10
    batch_size: int = 256
    _held: tuple[Sealed | None, Classifier | None] = (None, None)
    _clean: np.ndarray = field(default_factory=lambda: np.empty(0))

    def classifier(self, system: Sealed, seed: int) -> Classifier | None:
        """The system of a cell; None where it can only be asked, or cannot be read, which is said."""
        if self._held[0] is not system:
            self._held, self._clean = (system, self._loaded(system, seed)), np.empty((0, 0), np.float32)
        return self._held[1]

    def _loaded(self, system: Sealed, seed: int) -> Classifier | None:
        name = system.file("models", *SYSTEM)
        if system.label in self.replaced:
            return Classifier(self.replaced[system.label], name=system.label, draws=self.draws, seed=seed)
        if name is None:
            self.minutes.note(f"{system.label}: a model that can only be asked, and is not asked here")
            return None
        try:
            return Classifier(defend.load(inside(self.root, name)), name=system.label, draws=self.draws, seed=seed)
        except (OSError, ValueError, AdvrunError) as error:
            self.minutes.find(name, f"nothing that can be asked ({error})", "the system of its cell")
            return None

    def clean(self, classifier: Classifier, rows: np.ndarray) -> np.ndarray:
        """Logits (n, classes) of the clean test images of these rows; the first of the evaluation order are asked about once."""
        order = self.data.evaluation_order()
        places = np.argsort(order)[rows]
        count = int(places.max()) + 1
        if count > len(self._clean):
            self._clean = classifier.predict(self.data.x_test[order[:count]], self.batch_size)
        return self._clean[places]


def check_examples(asker: Asker, rows: Iterable[Claim], metrics: Mapping[str, list[Sealed]]) -> None:
    """Check all rows system by system. metrics: by the key of a row's cell, those of its metrics that can be measured again."""
    checked: set[str] = set()
    for each in sorted(rows, key=lambda each: each.cell.system.label if each.cell.system else ""):
        rows_of_test = check_labels(each, asker.data, asker.minutes)
        if rows_of_test is None:
            continue
        images, arrays = each.cell.images, None
        if images is not None:
            arrays = images_of(asker, images, rows_of_test)
            if arrays is None:
                continue
            _check_ball(asker, each, images, arrays)
            if images.manifest.key not in checked:
                checked.add(images.manifest.key)
                _check_images(asker, images, arrays)
        asker.minutes.examples += each.result.row.n
        outcome = _asked(asker, each, rows_of_test, arrays)
        if outcome is not None:
            _check_answers(asker, each, outcome)
            for metric in metrics.get(each.cell.manifest.key, ()):
                _check_metric(asker, metric, outcome)


def images_of(asker: Asker, images: Sealed, rows: np.ndarray) -> dict[str, Any] | None:
    """The stored images of a cell, which must be those of these rows of the test set; None where they are not."""
    name = images.examples or ""
    try:
        most = (len(asker.data.y_test), *asker.data.image_shape)
        arrays = read_examples(inside(asker.root, name), most, whole=not isinstance(asker.data.x_test, Images))
    except (OSError, ValueError, AdvrunError) as error:
        asker.minutes.find(name, f"nothing that are examples ({error})", "adversarial images of this data set")
        return None
    if np.array_equal(arrays["row"], rows):
        return arrays
    asker.minutes.find(name, "other images of the test set", "the first of the evaluation order")
    return None


def _pairs(asker: Asker, arrays: Mapping[str, Any]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The number of its first image, the stored images, and the clean ones, block by block."""
    done, x = 0, asker.data.x_test[arrays["row"]]
    for stored, clean in zip(blocks(arrays["x_adv"]), blocks(x), strict=True):
        yield done, np.asarray(stored), np.asarray(engine.to_unit(np.asarray(clean)))
        done += len(stored)


def _check_images(asker: Asker, images: Sealed, arrays: Mapping[str, Any]) -> None:
    """What is true of stored images whatever the row: the box, the grid, and that what was not attacked is as it was."""
    name, attacked = images.examples or "", arrays["attacked"].astype(bool)
    by_asking = images.system is not None and images.system.file("models", *SYSTEM) is None
    for start, stored, clean in _pairs(asker, arrays):
        axes = (1, 2, 3)
        outside = ~(np.isfinite(stored) & (stored >= 0) & (stored <= 1)).all(axis=axes)
        for image in np.flatnonzero(outside)[:1]:
            asker.minutes.find(name, f"image {start + image} with pixels from {stored[image].min()} to {stored[image].max()}", "0 to 1")
        changed = (stored != clean).any(axis=axes) & ~attacked[start : start + len(stored)]
        for image in np.flatnonzero(changed)[:1]:
            asker.minutes.find(name, f"that image {start + image} was not attacked, and other pixels", "the pixels of the test image")
        off = np.abs(np.rint(stored * 255) - stored * 255).max(axis=axes) > GRID
        for image in np.flatnonzero(off & by_asking)[:1]:
            asker.minutes.find(
                name, f"image {start + image} that is on no grid of 8 bits", "multiples of 1/255: its model is asked in 8 bits"
            )
    for what in ("gradients", "queries"):
        mean = float(arrays[what][attacked].mean()) if what in arrays and attacked.any() else 0.0
        said = images.manifest.info.get(what, mean)
        if what in arrays and abs(said - mean) > 1e-9 * max(abs(mean), 1.0):
            asker.minutes.find(images.record, f"{what} {said}", f"{mean}, the mean of {name}")


def _check_ball(asker: Asker, each: Claim, images: Sealed, arrays: Mapping[str, Any]) -> None:
    """The distance of each image, and that it is within eps."""
    row, stored = each.result.row, each.result.distances
    if not row.norm:
        return
    ball, x = GEOMETRIES[row.norm], asker.data.x_test[arrays["row"]]
    distances = np.asarray(by_blocks(ball.distance, arrays["x_adv"], engine.to_unit(x)))
    if row.eps is not None:
        for image in np.flatnonzero(~(distances <= ball(row.eps).reach))[:1]:
            said = f"eps {row.eps:.6g}, and image {image} that is {distances[image]:.6g} away in {ball.name}"
            asker.minutes.find(images.examples or "", said, f"within {row.eps:.6g}")
    off = np.abs(distances - stored) > 1e-6 + 1e-5 * np.abs(distances)
    for image in np.flatnonzero(off)[:1]:
        asker.minutes.find(each.name, f"distance {stored[image]:.6g} of image {image}", f"{distances[image]:.6g}, by {images.examples}")


def _asked(asker: Asker, each: Claim, rows: np.ndarray, arrays: dict[str, Any] | None) -> Outcome | None:
    """What the system makes of the images now."""
    system = each.cell.system
    classifier = asker.classifier(system, each.result.row.seed) if system is not None else None
    if classifier is None:
        return None
    data = labelled(each.cell, asker.data)
    if classifier.classes != data.classes or not all(
        side in (None, ours) for side, ours in zip(classifier.image_shape, data.image_shape, strict=True)
    ):
        name = system.record if system is not None else ""
        says = f"a model of {classifier.classes} classes for images {classifier.image_shape}"
        asker.minutes.find(name, says, f"{data.classes} classes, {data.image_shape}")
        return None
    x, y, before = data.x_test[rows], data.y_test[rows], asker.clean(classifier, rows)
    if arrays is None:
        return Outcome(classifier, x, None, y, before, before, batch_size=asker.batch_size)
    after = classifier.predict(arrays["x_adv"], asker.batch_size)
    seen = classifier, x, arrays["x_adv"], y, before, after, arrays.get("target"), asker.batch_size
    if each.cell.own is None or each.cell.own.row is None:
        return Outcome(*seen)
    answers = Result.read(inside(asker.root, each.cell.own.row)).predictions
    return Transferred(*seen, crafted=arrays["attacked"].astype(bool), source_after=answers)


def _check_answers(asker: Asker, each: Claim, outcome: Outcome) -> None:
    """The predictions of a row; and that what was attacked was right before, where the attack met this system itself."""
    sure = np.minimum(sure_of(outcome.before), sure_of(outcome.after))
    other = outcome.answers != each.result.predictions
    few = (other & ~sure).sum() <= max(1, TIES * len(sure))
    wrong, rounded = np.flatnonzero(other & (sure | (not few))), np.flatnonzero(other & ~sure & few)
    if len(rounded):
        asker.minutes.note(f"{each.name}: {len(rounded)} answers are as near to another class as rounding goes, and come out as that here")
    if len(wrong):
        first = wrong[0]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        said = f"class {each.result.predictions[first]} for image {first}{more}"
        asker.minutes.find(each.name, said, f"{outcome.answers[first]}, which {each.cell.system.label if each.cell.system else ''} says")


def sure_of(logits: np.ndarray) -> np.ndarray:
    """(n,) bool: whether the class cannot be another one by rounding."""
    two = np.sort(logits, axis=-1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0] > TIE * np.maximum(np.abs(logits).max(axis=-1), 1e-6))


def _check_metric(asker: Asker, cell: Sealed, outcome: Outcome) -> None:
    """The columns of a metric, measured again."""
    name = cell.file("metrics", ".json")
    metric = cell.label.rpartition(" ")[2]
    if name is None or metric not in registry.names("metrics"):
        return
    try:
        said, now = numbers(inside(asker.root, name)), columns(metric, outcome)
    except (OSError, ValueError, AdvrunError) as error:
        asker.minutes.find(name, f"nothing that are columns ({error})", f"what {metric} measures")
        return
    for column in dict.fromkeys((*said, *now)):
        one, other = said.get(column), now.get(column)
        if one is other or (one is not None and other is not None and abs(one - other) <= 1e-6 + ROUNDING * max(abs(one), abs(other))):
            continue
        asker.minutes.find(name, f"{column} {one}", f"{other}")
