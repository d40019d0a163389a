"""A network that tells attacked images from clean ones (Gong et al., 2017, arXiv:1704.04960; Metzen et al., 2017, arXiv:1702.04267)."""

from __future__ import annotations

from typing import Any

from advrun.engine import Rng, keras, ops
from advrun.system import Chain, Classifier, Detector
from advrun.train import Fit
from advrun.types import AttackChoice, Count, Minority, Tensor

PRESETS = {
    "fgsm": {"attack": {"name": "fgsm", "eps": 8 / 255}},
    "pgd": {"attack": {"name": "pgd", "eps": 8 / 255, "steps": 10}},
}


def binary_detector(
    system: Chain,
    fit: Fit,
    *,
    false_positives: Minority = 0.05,
    attack: AttackChoice = {"name": "pgd", "eps": 8 / 255, "steps": 10},  # noqa: B006, read only
    width: Count = 16,
) -> Chain:
    """Reject images that a small network takes for attacked ones.

    It is trained on each training image as it is and attacked, crafted against the system without a detector, by binary cross-entropy;
    score(x) is its log-odds that x was attacked. It looks at the image, as Gong et al.'s does; Metzen et al.'s looks at features of
    the classifier. It finds the attack that it has learnt nearly always, and falls to one that knows it (Carlini and Wagner, 2017,
    arXiv:1705.07263, section 5.1).

    Args:
        false_positives: share of the validation images that is rejected; it gives the threshold.
        attack: what the training images are attacked with.
        width: channels of the first layer; the other two have twice and four times as many.
    """
    victim, network = Classifier(system), judge(system.network.input_shape[1:], width)

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        x_adv = ops.stop_gradient(attack(victim, x, y, rng))
        clean, attacked = ops.split(network(ops.concatenate([x, x_adv]), training=training)[:, 0], 2)
        found = ops.cast(attacked > 0, "float32") + ops.cast(clean <= 0, "float32")
        return {"loss": ops.softplus(clean) + ops.softplus(-attacked), "accuracy": found / 2}

    network = fit(network, objective, monitor="loss", stage="detector")
    return system.beside(Detector(lambda x, logits: network(x, training=False)[:, 0]), fit, false_positives)


def judge(image_shape: tuple[int, ...], width: int) -> Any:
    """Three convolutions, the mean over the image, and one output: the log-odds that the image was attacked."""
    layers = keras.layers
    x = inputs = keras.Input(image_shape)
    for channels, strides in ((width, 1), (2 * width, 2), (4 * width, 2)):
        x = layers.Conv2D(channels, 3, strides=strides, padding="same", activation="relu")(x)
    x = layers.Dense(1, dtype="float32")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x, name="judge")
