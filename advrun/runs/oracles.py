"""Models that can only be asked, in a run: what they cost is said first, what they say is kept, and what it means is found out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from advrun import registry
from advrun.config import Experiment, ModelEntry
from advrun.data import Dataset
from advrun.errors import ConfigError, ModelError
from advrun.files import content_key, inside
from advrun.runs.plan import Cell, Plan
from advrun.runs.store import Store
from advrun.system import BlackBox, Oracle
from advrun.system.blackbox import refuse_access
from advrun.system.ledger import Ledger
from advrun.system.vocabulary import Vocabulary, of_clean_answers, of_labels, of_scores

FOLDER = "answers"
"""Of the results folder: a ledger for each oracle, by its label. It stays when settings change: what is spent is spent."""
MEANING = ("labels", "first", "class_names")
"""Settings that say what answers mean: when they change, nothing is asked anew."""
DRIFT = 16
"""Clean images that are asked about again after each attack: a service that answers otherwise now has changed in between."""


@dataclass(frozen=True)
class Ready:
    """data: as examples of what the answers mean. boxes: the oracles as classifiers, by label."""

    data: Dataset
    boxes: Mapping[str, BlackBox] = field(default_factory=dict)


def among(models: Mapping[str, Any]) -> dict[str, Oracle]:
    """Those of the opened models that can only be asked."""
    return {label: model for label, model in models.items() if isinstance(model, Oracle)}


def opened(plan: Plan, store: Store, oracles: Mapping[str, Oracle], *, spend: bool, say: Callable[[str], None]) -> Ready:
    """The oracles as classifiers that remember what they are told; `check_attacks` comes before it. `say` hears what they may cost before
    anything is sent.

    Raises:
        ConfigError: for labels that mean nothing, or where answers cost money and `spend` is False.
        ModelError: where a service with labels of its own stands beside other models, or does not answer.
    """
    for oracle in oracles.values():
        if oracle.classes is None and not oracle.labels and len(plan.experiment.models) > 1:
            raise ModelError(
                f"{oracle} answers with labels of its own, other models do not; say what they mean by labels, or take it alone"
            )
    entries = {entry.label: entry for entry in plan.experiment.models}
    ledgers = {
        label: Ledger(oracle, inside(store.root, f"{FOLDER}/{label}.sqlite"), service=service(entries[label]))
        for label, oracle in oracles.items()
    }
    for label, ledger in ledgers.items():
        consent(plan, store, label, ledger, spend=spend, say=say)
    data, boxes = plan.data, {}
    for label, ledger in ledgers.items():
        vocabulary, data = meaning(ledger, data)
        boxes[label] = BlackBox(ledger.oracle, image_shape=data.image_shape, vocabulary=vocabulary, ledger=ledger, name=label)
    return Ready(data, boxes)


def service(entry: ModelEntry) -> str:
    """What the answers depend on besides the image: all settings but those that give answers their meaning."""
    asked = registry.get("models", entry.name).identity(entry.settings)
    return content_key([entry.name, {name: value for name, value in asked.items() if name not in MEANING}])


def check_attacks(experiment: Experiment, oracles: Mapping[str, Oracle]) -> None:
    """Raise ConfigError for an attack that needs more than an opened oracle gives; those that need gradients are judged by the plan."""
    for label, oracle in oracles.items():
        for attack in experiment.attacks:
            plugin = registry.get("attacks", attack.name)
            if plugin.access != "gradients":
                with experiment.naming("attacks", attack.label):
                    refuse_access(plugin, label, oracle.gives)


def meaning(ledger: Ledger, data: Dataset) -> tuple[Vocabulary, Dataset]:
    """What the answers mean, and the data as examples of it: labels that nobody explained are learnt from the clean images."""
    oracle = ledger.oracle
    if oracle.classes is not None:
        return of_scores(oracle), data
    if oracle.labels:
        vocabulary = of_labels(oracle, data.class_names)
        return vocabulary, replace(data, class_names=vocabulary.names)
    vocabulary, y = of_clean_answers(oracle, ledger.answers(np.asarray(data.x_test)))
    # The training images would have other labels, of which nothing is known.
    return vocabulary, replace(data, x_train=data.x_train[:0], y_train=data.y_train[:0], group=None, y_test=y, class_names=vocabulary.names)


def consent(plan: Plan, store: Store, label: str, ledger: Ledger, *, spend: bool, say: Callable[[str], None]) -> None:
    """Say what the oracle may cost; raise ConfigError where that is money, and nobody has said yes."""
    pending = [cell for cell in plan.cells if cell.model.label == label and store.manifest(cell) is None]
    if not pending:
        return
    oracle, most = ledger.oracle, min(estimate(plan, pending), ledger.left)
    text = f"{label}: at most {most:,} images more; {ledger.spent:,} of the budget of {oracle.limits.budget:,} are spent"
    learners = {cell.attack.label for cell in pending if cell.attack and asks_to_learn(cell.attack.name)}
    if learners:
        text += f", and what {', '.join(sorted(learners))} asks to learn from"
    if oracle.price:
        text += f"; up to {most * oracle.price / 1000:.2f} dollars, at {oracle.price:g} per 1,000"
    if oracle.price and most and not spend:
        raise ConfigError(f"model {text}; nothing was sent: give --yes to spend it, or a smaller limits.budget")
    say(text)


def asks_to_learn(attack: str) -> bool:
    """Whether an attack asks the model before it sees an image, which `cost` does not count."""
    plugin = registry.get("attacks", attack)
    return plugin.fit is not None and plugin.access != "blind"


def estimate(plan: Plan, cells: list[Cell]) -> int:
    """How many images these cells send at most: the clean ones, each query of each attack, what is measured, and drift."""
    n = len(plan.data.y_test)
    total = n
    for cell in cells:
        if cell.kind == "attack" and cell.attack is not None:
            queries = registry.get("attacks", cell.attack.name).cost(cell.attack.settings).queries
            goals = plan.data.classes if cell.attack.target == "all" else 1
            total += min(cell.attack.examples or n, n) * (queries * goals + 1) + min(DRIFT, n)
        elif cell.kind == "measure" and cell.own is not None and cell.attack is not None:  # examples of another model
            total += min(cell.attack.examples or n, n)
    return total
