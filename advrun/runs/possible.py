"""What is known to be impossible before anything is trained: chains of defences that do not fit together, and targets that do not exist.

Nothing is listed here. What a defence does, its signature and its code say (`keys.says`): that it sets a detector beside the system, that
its training pauses for an attack to learn, that its networks play against one another.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from advrun import registry
from advrun.config import AttackEntry, BoundEntry, DefenseEntry, Experiment
from advrun.config.entries import InnerAttack, Training
from advrun.data import Dataset
from advrun.errors import ConfigError
from advrun.runs.keys import says
from advrun.runs.needs import attack_learns, is_trained, training_of


def check_chains(experiment: Experiment) -> None:
    """Raise ConfigError for a defence that cannot stand where it stands, or cannot be trained as it is to be."""
    for defense in experiment.defended:
        guard = ""
        for number, part in enumerate(defense.chain):
            plugin = registry.get("defenses", part.name)
            with experiment.naming("defenses", defense.label, number):
                if guard and not plugin.takes_system:
                    lost = f"{part.name} makes a network, and the detector that {guard} has set beside the one before it would be lost"
                    raise ConfigError(f"{lost}; put {part.name} before {guard}")
                if says(part.name, call="beside"):
                    guard = part.name
            _check_training(experiment, defense, number)


def check_validation(experiment: Experiment, data: Dataset | None = None) -> None:
    """Raise ConfigError where something is chosen by validation images, and none are held out. data: the experiment's, if it is at hand."""
    share = experiment.data.validation
    if share and (data is None or len(data.validation_split(share, seed=0)[1])):
        return
    few = ", which is none of the images, or tracks, of any class" if share else ""
    remedy = f"comes from validation images, and data.validation is {share:g}{few}; make it larger{'' if share else ', such as 0.1'}"
    for model in experiment.models:
        if model.train and model.train.monitor != "own":
            raise ConfigError(f"{experiment.at('models', model.label, 'train')}: {model.train.monitor} {remedy}")
    for defense in experiment.defended:
        for number, part in enumerate(defense.chain):
            with experiment.naming("defenses", defense.label, number):
                if says(part.name, call="beside"):
                    raise ConfigError(f"the threshold of {part.name} {remedy}")
                if part.train and part.train.monitor != "own":
                    raise ConfigError(f"{part.train.monitor} {remedy}")


def check_batches(experiment: Experiment, data: Dataset) -> None:
    """Raise ConfigError where a batch is larger than all that is trained on."""
    count = cache(lambda half: len(data.half(half).validation_split(experiment.data.validation, seed=0)[0]))
    for model in filter(is_trained, experiment.models):
        trained: list[tuple[tuple[Any, ...], Training | None]] = [(("models", model.label, "train", "batch_size"), training_of(model))]
        for defense in experiment.defended:
            for number, part in enumerate(defense.chain):
                trained.append((("defenses", defense.label, number, "train", "batch_size"), training_of(model, part)))
        for place, training in trained:
            if training and training.batch_size > count(training.half):
                had = f"got {training.batch_size}, but there are {count(training.half)} images to train on; make it smaller"
                raise ConfigError(f"{experiment.at(*place)}: {had}")


def _check_training(experiment: Experiment, defense: DefenseEntry, number: int) -> None:
    """Raise ConfigError where a part of a defence is to be trained in a way that it cannot be."""
    part = defense.chain[number]
    settings = registry.get("defenses", part.name).settings
    for name, value in part.settings.items():
        for attack in (value if isinstance(value, tuple) else (value,)) if settings[name].is_attack else ():
            with experiment.naming("defenses", defense.label, number, name):
                _check_inner(part.name, attack)
    train = part.train
    if train and (train.monitor != "own" or train.ema) and says(part.name, call="game"):
        asked = f"monitor: {train.monitor}" if train.monitor != "own" else f"ema: {train.ema:g}"
        place = experiment.at("defenses", defense.label, number, "train")
        raise ConfigError(
            f"{place}: the networks of {part.name} play against one another, without {asked}; take it out of its train section"
        )


def _check_inner(defense: str, attack: InnerAttack) -> None:
    plugin = registry.get("attacks", attack.name)
    if plugin.is_cascade:
        raise ConfigError(f"{attack.name} is more than one function of a batch, as a training needs; take one of its stages, or pgd")
    if plugin.fit and not says(defense, keyword="before"):
        raise ConfigError(f"{attack.name} learns before it attacks, and {defense} gives it no time to; take one that does not, as pgd")


def aims(experiment: Experiment) -> bool:
    """Whether anything of the experiment is about a class by its number."""
    return any(isinstance(entry.target, int) for _, entry in _aimed(experiment)) or any(
        attack.source_class is not None for attack in experiment.attacks
    )


def check_targets(experiment: Experiment, classes: int, owner: str) -> None:
    """Raise ConfigError where an attack, or a bound, is about a class that its owner (a data set, or models) does not have."""
    for kind, entry in _aimed(experiment):
        if isinstance(entry.target, int) and entry.target >= classes:
            raise ConfigError(f"{experiment.at(kind, entry.label, 'target')}: got {entry.target}; {owner} the classes 0 to {classes - 1}")


def _aimed(experiment: Experiment) -> list[tuple[str, AttackEntry | BoundEntry]]:
    return [*(("attacks", attack) for attack in experiment.attacks), *(("bounds", bound) for bound in experiment.bounds)]


def check_sources(experiment: Experiment, data: Dataset) -> None:
    """Raise ConfigError where an attack concerns a class that has no images, or is its own target."""
    for attack in experiment.attacks:
        source = attack.source_class
        if source is None:
            continue
        place = f"{experiment.at('attacks', attack.label, 'source_class')}: got {source}"
        if source not in data.y_test:
            raise ConfigError(f"{place}, of which {data.name} has no test image")
        if attack.target == source:
            raise ConfigError(f"{place}, and target is the same; aim at another class")
        if attack_learns(attack) and len(data.y_train) and source not in data.y_train:
            raise ConfigError(f"{place}, of which {data.name} has no training image to learn from")
