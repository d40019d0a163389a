"""A denoising autoencoder in front of the unchanged classifier (Gu and Rigazio, 2014; Liao et al., 2018)."""

from __future__ import annotations

from typing import Any

from advrun.defenses._attacked import Generations
from advrun.defenses._purifier import denoiser, in_front_of
from advrun.engine import Rng, ops
from advrun.system import Classifier
from advrun.train import Fit
from advrun.types import AttackChoice, Count, NonNegative, Tensor

PRESETS = {
    "small": {"width": 16, "levels": 2},
    "paper": {"width": 64, "levels": 3},
    "pixels": {"guidance": 0.0},
}


def autoencoder(
    model: Any,
    fit: Fit,
    *,
    attack: AttackChoice = {"name": "fgsm", "eps": 8 / 255},  # noqa: B006, read only
    noise: NonNegative = 0.02,
    guidance: NonNegative = 0.01,
    width: Count = 16,
    levels: Count = 2,
) -> Any:
    """Denoising autoencoder before the classifier, trained to give the clean image back from clean, noisy and attacked ones.

    Loss: |A(x') - x|^2 / d + g |Z(A(x')) - Z(x)|_1 / K over clean and attacked x' with Gaussian noise, Z the classifier's
    logits. g = 0 is the denoising autoencoder of Vincent et al. (2008, doi:10.1145/1390156.1390294), used as a defence by
    Gu and Rigazio (2014, arXiv:1412.5068); the second term is the logits guidance of Liao et al. (2018, arXiv:1712.02976,
    section 4.3). The classifier does not change, so an attack through both usually undoes the defence: compare the
    adaptive accuracy with the static one.

    Args:
        attack: crafts the attacked images, against the undefended classifier.
        noise: standard deviation of Gaussian noise added to every input while training, in pixel units.
        guidance: g, the weight of the difference in logits.
        width: channels of the first level; each further level has twice as many.
        levels: halvings of the image's sides.
    """
    purifier = denoiser(model.input_shape[1:], width, levels)
    undefended = Classifier(model)
    opponent = Generations(attack, undefended, "undefended", 1)

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        x_adv = ops.stop_gradient(opponent(x, y, rng)[0])
        inputs, targets = ops.concatenate([x, x_adv]), ops.concatenate([x, x])
        restored = purifier(ops.clip(inputs + noise * rng.normal(inputs.shape), 0.0, 1.0), training=training)
        pixels = ops.mean(ops.square(restored - targets), axis=(1, 2, 3))
        logits = ops.mean(ops.abs(undefended.forward(restored) - undefended.forward(targets)), axis=-1)
        clean, attacked = ops.split(pixels + guidance * logits, 2)
        return {"loss": clean + attacked, "clean_loss": clean, "attacked_loss": attacked}

    system = in_front_of(model, purifier)
    fit(purifier, objective, system=system, before=lambda fit, epoch: opponent.prepare(fit, 0))
    return system
