"""Adversarial training: on the FGSM mixture (Goodfellow et al., 2015), on PGD (Madry et al., 2018), and between."""

from __future__ import annotations

from typing import Any

from advrun.defenses._attacked import Opponent, mixture, on_pairs
from advrun.defenses._learner import Start, learner_of
from advrun.system import Classifier
from advrun.train import Fit
from advrun.types import AttackChoice, Count, Fraction

PRESETS = {
    "paper": {"attack": {"name": "fgsm", "eps": 8 / 255}, "ratio": 0.5, "replay": 0.0},
    "madry": {"attack": {"name": "pgd", "eps": 8 / 255, "steps": 7, "step_size": 0.25}, "ratio": 1.0, "replay": 0.0},
    "fast": {"attack": {"name": "pgd", "eps": 8 / 255, "steps": 1, "step_size": 1.25}, "ratio": 1.0, "replay": 0.0},
    "ensemble": {"attack": {"name": "pgd", "eps": 8 / 255, "steps": 1, "step_size": 1.25}, "ratio": 0.5, "replay": 0.5},
}


def adversarial_training(
    model: Any,
    fit: Fit,
    *,
    attack: AttackChoice = {"name": "fgsm", "eps": 8 / 255},  # noqa: B006, read only
    ratio: Fraction = 0.5,
    replay: Fraction = 0.0,
    generations: Count = 4,
    start: Start = "fresh",
) -> Any:
    """Train a fresh copy of the classifier on images attacked while it learns: (1 - r) J(x, y) + r J(x_adv, y).

    The default, FGSM and r = 0.5, is Goodfellow, Shlens and Szegedy (2015, arXiv:1412.6572, section 6). Preset `madry`,
    PGD and r = 1, is Madry et al. (2018, arXiv:1706.06083, equation 2.1); `fast`, one PGD step of 1.25 eps from a random
    start, is Wong, Rice and Kolter (2020, arXiv:2001.03994); `ensemble` crafts half of the attacked images on the
    undefended classifier, as Tramèr et al. (2018, arXiv:1705.07204) do, which helps most against replayed examples.
    One-step training can overfit to its own attack: look at the adaptive accuracy under `pgd`.

    With an attack that learns, such as `advgan` (Xiao et al., 2018, arXiv:1801.02610), a generator is trained from nothing before each
    epoch against the classifier as it is then, and the last epoch is the best that can be known. With replay 1 there is only the one that
    was trained against the undefended classifier.

    Args:
        attack: what the training images are attacked with.
        ratio: r, the weight of the attacked images in the loss.
        replay: share of the attacked images that are crafted on the undefended classifier.
        generations: of an attack that learns, how many of its last generators attack each batch, in equal shares.
        start: fresh weights, or those of the trained classifier.
    """
    network = learner_of(model, start)
    opponent = Opponent(attack, Classifier(network), Classifier(model), replay, generations)

    objective = on_pairs(network, lambda x, y, rng, training: opponent(x, y, rng), mixture(ratio))
    return fit(network, objective, monitor="" if opponent.learns else "adversarial_accuracy", before=opponent.prepare)
