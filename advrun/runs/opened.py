"""Models that come trained, opened before anything is computed: do they fit the data, and are they read as their authors meant?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from advrun import engine, registry
from advrun.config import Experiment, ModelEntry
from advrun.console import Console
from advrun.data import Dataset
from advrun.errors import AdvrunError, ModelError, PluginError
from advrun.runs import oracles
from advrun.runs.needs import check_oracles, is_oracle, is_trained
from advrun.runs.plan import Plan
from advrun.runs.possible import check_sources, check_targets
from advrun.runs.store import Store
from advrun.system import BlackBox, Oracle
from advrun.system.foreign import Foreign
from advrun.system.inputs import expected_shape
from advrun.system.readings import CLAIMED, TESTED, Examination, examine


@dataclass(frozen=True)
class Opened:
    """data: with the classes of the models. models: those that are still to be read, by label. info: what was found, by label.

    boxes: those that can only be asked, by label.
    """

    data: Dataset
    models: Mapping[str, Foreign] = field(default_factory=dict)
    info: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    boxes: Mapping[str, BlackBox] = field(default_factory=dict)


def open_models(plan: Plan, store: Store, console: Console, *, spend: bool = False) -> Opened:
    """Open the trained models of a plan, and refuse what does not fit. A model that was read before is known by its manifest.

    spend: ask also models that cost money.

    Raises:
        ConfigError: when asking a model costs money and `spend` is False, or when an attack needs more than a model gives.
        ModelError: when a model cannot be read, takes other images, has other classes than the data or another model, or is less
            accurate than its author says. DataError: when nothing tells which of a model's classes the data show.
    """
    done, missing = {}, []
    for cell in plan.cells:
        if cell.kind == "train" and cell.defense is None and not is_trained(cell.model):
            manifest = store.manifest(cell)
            before = known_classes(manifest.info) if manifest and not is_oracle(cell.model) else None
            if before is None:
                missing.append(cell.model)
            else:
                done[cell.model.label] = before
    if missing:
        compute = plan.experiment.compute
        engine.start(0, deterministic=compute.deterministic, mixed_precision=compute.mixed_precision, jit=compute.jit)
    found: dict[str, Foreign | Oracle] = {}
    for entry in {each.label: each for each in missing}.values():
        with plan.experiment.naming("models", entry.label):
            found[entry.label] = open_model(entry)
    check_fits(found, plan.experiment, plan.data.image_shape)
    models = {label: model for label, model in found.items() if isinstance(model, Foreign)}
    known = {label: classes for label, classes in done.items() if label not in found}
    known |= {label: (model.classes, model.names()) for label, model in models.items()}
    oracles.check_attacks(plan.experiment, oracles.among(found))
    with plan.experiment.naming("models"):
        asked = oracles.opened(plan, store, oracles.among(found), spend=spend, say=lambda text: console.event("asks", label=text))
    known |= {label: (box.classes, box.vocabulary.names) for label, box in asked.boxes.items()}
    data = fitted(asked.data, known, plan.experiment)
    info: dict[str, Mapping[str, Any]] = {
        label: {"clean": None, "note": "", "class_names": list(data.class_names)} for label in asked.boxes
    }
    for label, model in models.items():
        seen = examined(model, data)
        with plan.experiment.naming("models", label):
            seen.check()
        if seen.note:
            console.warn(f"model {label!r}: {seen.note}")
        read = {"clean": seen.accuracy, "note": seen.note}
        info[label] = {**read, "class_names": list(data.class_names)}
    return Opened(data, models, info, asked.boxes)


def known_classes(info: Mapping[str, Any]) -> tuple[int, tuple[str, ...]] | None:
    """How many classes a model has that was read before, and their names, from the manifest of its cell; None where that does not say."""
    found = info.get("model")
    names = found.get("class_names") if isinstance(found, dict) else None
    return (len(names), tuple(map(str, names))) if isinstance(names, list) else None


def open_model(entry: ModelEntry) -> Foreign | Oracle:
    """The model of an entry that comes trained, with what the entry says about it. Raises ModelError."""
    plugin = registry.get("models", entry.name)
    model = plugin.function(**entry.settings)
    if isinstance(model, Oracle) and not plugin.is_oracle:
        raise PluginError(f"{registry.place('models', entry.name)}: it returns an Oracle; annotate it so: def {entry.name}(...) -> Oracle")
    return model if isinstance(model, (Foreign, Oracle)) else Foreign(model)


def inspect(experiment: Experiment, load_data: Callable[[Experiment], Dataset]) -> dict[str, dict[str, Any]]:
    """What is found in the models that come trained: facts by label of the model, and a note where another reading is better.

    Raises ModelError as `open_models` does; what the settings and the headers of the data set tell is judged before its images are read.
    """
    check_oracles(experiment)
    opened: dict[str, Foreign | Oracle] = {}
    found: dict[str, dict[str, Any]] = {}
    for entry in experiment.models:
        with experiment.naming("models", entry.label):
            try:
                if not is_trained(entry):
                    opened[entry.label] = open_model(entry)
            except ModelError as error:
                if not is_oracle(entry):
                    raise
                found[entry.label] = {"not reached": str(error)}  # a service that is not running is no fault of the configuration
    oracles.check_attacks(experiment, oracles.among(opened))
    models = {label: model for label, model in opened.items() if isinstance(model, Foreign)}
    outline = outline_of(experiment)
    if outline is not None:
        check_fits(opened, experiment, outline[0])
    found |= {label: oracle.facts() for label, oracle in oracles.among(opened).items()}
    if not models:
        return found
    if outline is not None and outline[1] is not None:
        check_classes({label: model.classes for label, model in models.items()}, experiment, outline[1])
    data = load_data(experiment)
    check_fits(models, experiment, data.image_shape)
    check_sources(experiment, data)
    data = fitted(data, {label: (model.classes, model.names()) for label, model in models.items()}, experiment)
    for label, model in models.items():
        seen = examined(model, data)
        with experiment.naming("models", label):
            seen.check()
        right = f"{100 * seen.accuracy:.1f} % of {seen.n:,} images"
        found[label] = {**model.facts(), "clean": right} | ({"note": seen.note} if seen.note else {})
    return found


def examined(model: Foreign, data: Dataset) -> Examination:
    """What the first images of the evaluation order say of the model."""
    rows = data.evaluation_order()[: TESTED if model.claim is None else CLAIMED]
    return examine(model, np.asarray(data.x_test[rows]), data.y_test[rows], data.class_names)


def check_fits(models: Mapping[str, Foreign | Oracle], experiment: Experiment, image_shape: tuple[int, int, int]) -> None:
    """Raise ModelError, with the remedy, for a model that does not take the data's images."""
    for label, model in models.items():
        if not model.takes(image_shape):
            with experiment.naming("models", label):
                model.refuse(image_shape, experiment.data.name, resizable=_allows(experiment, model))


def _allows(experiment: Experiment, model: Foreign | Oracle) -> bool:
    """Whether the data set can be had in the size that the model takes."""
    plugin = registry.get("datasets", experiment.data.name)
    side = model.image_shape[0] if isinstance(model, Oracle) else expected_shape(model.model)[0]
    if "image_size" not in plugin.settings or side is None:
        return False
    try:
        outline = outline_of(experiment, image_size=side)
    except AdvrunError:
        return False
    return outline is None or outline[0][:2] == (side, side)


def outline_of(experiment: Experiment, **changed: Any) -> tuple[tuple[int, int, int], int | None] | None:
    """Image shape of the data set, and its classes where they are known, from settings and headers; None without a function `outline`."""
    plugin = registry.get("datasets", experiment.data.name)
    outline = getattr(plugin.module, "outline", None)
    return None if outline is None else outline(**{**experiment.data.settings, **changed})


def fitted(data: Dataset, known: Mapping[str, tuple[int, tuple[str, ...]]], experiment: Experiment) -> Dataset:
    """The data as examples of the models' classes. known: of each opened model, how many classes it has, and their names.

    Raises ModelError when models differ, or know fewer classes than there are.
    """
    if not known:
        return data
    check_classes({label: count for label, (count, _) in known.items()}, experiment, data.classes)
    named = {label: names for label, (_, names) in known.items() if names}
    for label, names in named.items():
        first = next(iter(named))
        if names != named[first] and set(names) == set(named[first]):
            text = f"models {first!r} and {label!r} name the same classes in different orders; say which is meant by `classes`"
            raise ModelError(f"{experiment.at('models', label)}: {text}")
    count = next(iter(known.values()))[0]
    return data.with_classes(count, next(iter(named.values()), ()))


def check_classes(counts: Mapping[str, int], experiment: Experiment, classes: int) -> None:
    """Raise ModelError when models have different numbers of classes, or fewer than the data; ConfigError for a target that is none."""
    name = experiment.data.name
    for label, count in counts.items():
        if count < classes:
            place = next(
                (f"{entry.settings['path']}: " for entry in experiment.models if entry.label == label and "path" in entry.settings), ""
            )
            text = f"{place}model {label!r} has {count} classes, data set {name} has {classes}; give it images of its own"
            with experiment.naming("models", label):
                raise ModelError(f"{text} {count} classes alone, or a model with an output for each class")
    first, *others = counts
    for label in others:
        if counts[label] != counts[first]:
            text = f"model {first!r} has {counts[first]} classes, model {label!r} has {counts[label]}"
            raise ModelError(f"{experiment.at('models', label)}: {text}; one configuration measures models of the same classes")
    for entry in experiment.models:
        if is_trained(entry) and counts[first] != classes:
            text = f"model {first!r} has {counts[first]} classes, of which data set {name} shows {classes}"
            place = experiment.at("models", entry.label)
            raise ModelError(f"{place}: {text}; {entry.label!r} cannot be trained for the others: take it in a configuration of its own")
    check_targets(experiment, counts[first], "the models have")
