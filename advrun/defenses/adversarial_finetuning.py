"""Adversarial fine-tuning of the last layers (Shafahi et al., 2020, arXiv:1905.08232, section 3; Jeddi et al., 2020, arXiv:2012.13628)."""

from __future__ import annotations

from typing import Any

from advrun.defenses._attacked import Opponent, mixture, on_pairs
from advrun.engine import keras
from advrun.system import Classifier
from advrun.system.copies import same_copy
from advrun.train import Fit
from advrun.types import AttackChoice, Count, Fraction


def adversarial_finetuning(
    model: Any,
    fit: Fit,
    *,
    attack: AttackChoice = {"name": "pgd", "eps": 8 / 255, "steps": 7, "step_size": 0.25},  # noqa: B006, read only
    ratio: Fraction = 0.5,
    layers: Count = 3,
) -> Any:
    """Train the last layers of a classifier on, with images attacked while it learns: (1 - r) J(x, y) + r J(x_adv, y).

    For a large network and few images of one's own, where training anew is out of the question. What comes before stays as it is, and so
    do the statistics of every batch normalisation: an attack still finds its way through features that nobody made robust, so the adaptive
    accuracy gains little where an attack is strong (Shafahi et al., section 3: only features that are robust stay so).

    Args:
        attack: what the training images are attacked with.
        ratio: r, the weight of the attacked images in the loss.
        layers: how many of the last layers with weights are trained; batch normalisation is none of them.
    """
    network = same_copy(model)
    weighted = [
        layer
        for layer in network._flatten_layers(include_self=False)
        if layer.trainable_weights and not layer._layers and not isinstance(layer, keras.layers.BatchNormalization)
    ]
    learning = {id(layer) for layer in weighted[-layers:]}
    trainable = [(layer, layer.trainable) for layer in network._flatten_layers(include_self=False) if not layer._layers]
    for layer, _ in trainable:
        layer.trainable = id(layer) in learning
    opponent = Opponent(attack, Classifier(network), Classifier(model))

    objective = on_pairs(network, lambda x, y, rng, training: opponent(x, y, rng), mixture(ratio))
    fit(network, objective, monitor="" if opponent.learns else "loss", before=opponent.prepare)
    for layer, was in trainable:
        layer.trainable = was
    return network
