"""A denoising autoencoder in front of the unchanged classifier (Vincent et al., 2008; against attacks, Gu and Rigazio, 2014)."""

from __future__ import annotations

from typing import Any

from advrun.classifier import Classifier
from advrun.defenses._purifier import denoiser, in_front_of
from advrun.engine import Rng, ops
from advrun.train import Fit
from advrun.types import AttackChoice, Count, NonNegative, Tensor

PRESETS = {"small": {"width": 24, "levels": 2}, "paper": {"width": 64, "levels": 3}}


def autoencoder(
    model: Any,
    fit: Fit,
    *,
    attack: AttackChoice = {"name": "fgsm", "eps": 8 / 255},  # noqa: B006, read only
    noise: NonNegative = 0.02,
    width: Count = 24,
    levels: Count = 2,
) -> Any:
    """Denoising autoencoder before the classifier, trained to give the clean image back from clean, noisy and attacked ones.

    Vincent, Larochelle, Bengio and Manzagol (2008, doi:10.1145/1390156.1390294); as a defence, Gu and Rigazio (2014,
    arXiv:1412.5068). The classifier does not change, so an adaptive attack through both usually undoes the defence.

    Args:
        attack: crafts the attacked images, against the undefended classifier.
        noise: standard deviation of Gaussian noise added to every input while training, in pixel units.
        width: channels of the first level; each further level has twice as many.
        levels: halvings of the image's sides.
    """
    purifier = denoiser(model.input_shape[1:], width, levels)
    victim = Classifier(model)

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        x_adv = ops.stop_gradient(attack(victim, x, y, rng))
        inputs = ops.concatenate([x, x_adv])
        inputs = ops.clip(inputs + noise * rng.normal(inputs.shape), 0.0, 1.0)
        error = ops.mean(ops.square(purifier(inputs, training=training) - ops.concatenate([x, x])), axis=(1, 2, 3))
        clean, attacked = ops.split(error, 2)
        return {"loss": clean + attacked, "clean_loss": clean, "attacked_loss": attacked}

    return in_front_of(model, fit(purifier, objective))
