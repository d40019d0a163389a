"""Transfer attacks (Papernot, McDaniel and Goodfellow, 2016, arXiv:1605.07277; ensembles: Dong et al., 2018, arXiv:1710.06081)."""

from __future__ import annotations

import numpy as np

from advrun.attacks._surrogate import Student, craft_on, from_files, network
from advrun.engine import Rng
from advrun.geometry import L2, Linf
from advrun.system import Blind, Classifier
from advrun.types import Count, CrafterName, FilePath, Labels, Natural, Targets, Tensor

CONTRACT = {"settings": {"epochs": 2}, "surrogate": True}


def transfer(
    model: Blind,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    rng: Rng,
    fitted: None,
    *,
    models: tuple[FilePath, ...] = (),
    attack: CrafterName = "mifgsm",
    images: Count = 10_000,
    epochs: Natural = 5,
) -> Tensor:
    """Craft on surrogate models, replay on the attacked one, which is never asked.

    Of several surrogates the mean of the logits is attacked (Liu et al., 2017, arXiv:1611.02770, take the mean of the probabilities).
    Without files, a small convolutional network is trained on the attacker's own training images and true labels first.

    Args:
        models: .keras files of the surrogates, with the same images and classes.
        attack: the white-box attack inside a ball, with its default settings: mifgsm, vmifgsm, difgsm, pgd and so on.
        images: how many training images a surrogate of one's own learns from.
        epochs: passes over them.
    """
    return craft_on(surrogate(model, models), attack, targeted=model.targeted, x=x, y=y, ball=ball, rng=rng)


def fit(model: Blind, x: np.ndarray, y: np.ndarray, rng: Rng, *, models: tuple[str, ...], attack: str, images: int, epochs: int) -> None:
    """Read the surrogates, or train one on the first images of the attacker's."""
    victim = surrogate(model, models)
    if not models:
        Student(victim, np.asarray(rng.key)).learn(x[:images], np.asarray(y[:images]), epochs)


def surrogate(model: Blind, models: tuple[str, ...]) -> Classifier:
    """Of the files, or a network to be trained."""
    if models:
        return from_files(tuple(models), model.image_shape, model.classes)
    return network("transfer", model.image_shape, model.classes)
