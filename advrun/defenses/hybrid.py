"""The hybrid: a denoising autoencoder in front of an adversarially trained classifier, trained end to end."""

from __future__ import annotations

from typing import Any

from advrun.defenses._attacked import Opponent
from advrun.defenses._purifier import denoiser, in_front_of
from advrun.engine import Rng, ops
from advrun.losses import cross_entropy
from advrun.system import Classifier
from advrun.system.copies import fresh_copy
from advrun.train import Fit, accuracy
from advrun.types import AttackChoice, Count, Fraction, NonNegative, Tensor

PRESETS = {
    "small": {"width": 16, "levels": 2},
    "paper": {"width": 64, "levels": 3},
    "ensemble": {"attack": {"name": "pgd", "eps": 8 / 255, "steps": 1, "step_size": 1.25}, "replay": 0.5},
}


def hybrid(
    model: Any,
    fit: Fit,
    *,
    attack: AttackChoice = {"name": "fgsm", "eps": 8 / 255},  # noqa: B006, read only
    ratio: Fraction = 0.5,
    replay: Fraction = 0.0,
    restoration: NonNegative = 1.0,
    width: Count = 16,
    levels: Count = 2,
) -> Any:
    """Autoencoder and classifier, trained as one on images attacked through both.

    Loss: (1 - r) J(x, y) + r J(x_adv, y) + w |A(x_adv) - x|^2 / d, with A the autoencoder: adversarial training (Goodfellow
    et al., 2015, arXiv:1412.6572) of the whole system, which also keeps A a restorer of images (Gu and Rigazio, 2014,
    arXiv:1412.5068).

    Args:
        attack: what the training images are attacked with, through autoencoder and classifier.
        ratio: r, the weight of the attacked images in the classification loss.
        replay: share of the attacked images that are crafted on the undefended classifier (ensemble adversarial training).
        restoration: w, the weight of the restoration error (mean square over the d pixels).
        width: channels of the autoencoder's first level; each further level has twice as many.
        levels: halvings of the image's sides.
    """
    purifier, classifier = denoiser(model.input_shape[1:], width, levels), fresh_copy(model)
    system = in_front_of(classifier, purifier)
    opponent = Opponent(attack, Classifier(system), Classifier(model), replay)

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        x_adv = opponent(x, y, rng)
        restored = purifier(x_adv, training=training)
        clean, adversarial = system(x, training=training), classifier(restored, training=training)
        error = ops.mean(ops.square(restored - x), axis=(1, 2, 3))
        return {
            "loss": (1 - ratio) * cross_entropy(clean, y) + ratio * cross_entropy(adversarial, y) + restoration * error,
            "accuracy": accuracy(clean, y),
            "adversarial_accuracy": accuracy(adversarial, y),
            "restoration_loss": error,
        }

    return fit(system, objective, monitor="" if opponent.learns else "adversarial_accuracy", before=opponent.prepare)
