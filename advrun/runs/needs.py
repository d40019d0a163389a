"""What the entries of an experiment need: gradients, training images, training; and what a model that can only be asked cannot give."""

from __future__ import annotations

from typing import Any

from advrun import registry
from advrun.config import AttackEntry, DefenseEntry, Experiment, ModelEntry, Training
from advrun.errors import ConfigError
from advrun.runs.keys import stages
from advrun.runs.meetings import Able, Cast, meet
from advrun.system.blackbox import GIVEN, refuse_access
from advrun.types import SystemName


def is_oracle(model: ModelEntry) -> bool:
    """True for a model that can only be asked."""
    return registry.get("models", model.name).is_oracle


def ability(experiment: Experiment) -> Able:
    """Which systems an attack can be crafted on: not on a model that can only be asked where it needs gradients."""
    asked = {model.label for model in experiment.models if is_oracle(model)}

    def able(source: SystemName, cast: Cast) -> bool:
        return source.model not in asked or registry.get("attacks", cast.attack.name).access in GIVEN["scores"]

    return able


def check_oracles(experiment: Experiment) -> None:
    """Raise ConfigError for attacks, defences and bounds that need more of a model than to ask it.

    An attack that needs gradients may be crafted on another model, where a threat lets its examples meet this one.
    """
    asked = [model.label for model in experiment.models if is_oracle(model)]
    if not asked:
        return
    if experiment.defended:
        place = experiment.at("defenses", experiment.defended[0].label)
        raise ConfigError(f"{place}: it needs a network, and model {asked[0]!r} can only be asked; leave defenses out")
    if experiment.bounds and len(asked) == len(experiment.models):
        place = experiment.at("bounds", experiment.bounds[0].label)
        raise ConfigError(f"{place}: it needs a network, and model {asked[0]!r} can only be asked; leave bounds out")
    systems = [SystemName(model.label) for model in experiment.models]
    casts = [Cast(attack, None) for attack in experiment.attacks]
    met = {(meeting.target.model, meeting.cast) for meeting in meet(experiment.threats, systems, casts, ability(experiment))}
    hint = ", or craft it on a model of your own, by threats: [none, adaptive, transfer]"
    for label in asked:
        for cast in casts:
            if (label, cast) not in met:
                with experiment.naming("attacks", cast.attack.label):
                    refuse_access(registry.get("attacks", cast.attack.name), label, hint=hint)


def is_trained(model: ModelEntry) -> bool:
    """True for architectures, which advrun trains; False for a model that comes with its weights."""
    return registry.get("models", model.name).trains(model.settings)


def training_of(model: ModelEntry, defense: DefenseEntry | None = None) -> Training | None:
    """How the network of a cell is trained; None for a defence that trains nothing. A defence learns from the half that its model learnt
    from, unless it says otherwise."""
    own = model.train or Training()
    if defense is None or defense.train is None:
        return None if defense else own
    return defense.train if defense.train.half != "all" else defense.train.model_copy(update={"half": own.half})


def is_fitted(defense: DefenseEntry) -> bool:
    """True for a defence that trains something, or is put upon one that does."""
    return any(part.train for part in defense.chain)


def attack_learns(attack: AttackEntry) -> bool:
    """True for an attack that sees training images, or one of whose stages does."""
    return any(registry.get("attacks", name).learns for name in (attack.name, *stages(attack)))


def is_divisible(cell: Any) -> bool:
    """True for a cell whose batches several workers may make: examples and bounds of each image by itself. Not what an attack learns before
    its first image, unless that is a cell of its own, nor what a model says that can only be asked: it is asked in order.
    """
    if is_oracle(cell.model):
        return False
    if cell.kind != "attack" or cell.attack is None:
        return bool(cell.kind == "bound")
    plugin = registry.get("attacks", cell.attack.name)
    return (plugin.fit is None or plugin.learns_alone) and all(registry.get("attacks", name).fit is None for name in stages(cell.attack))


def learns(experiment: Experiment) -> bool:
    """True where anything of the experiment sees training images: a classifier to be trained, a defence, an attack that learns."""
    learners = (*map(is_fitted, experiment.defended), *map(is_trained, experiment.models), *map(attack_learns, experiment.attacks))
    return any(learners)
