"""Capsule network with dynamic routing (Sabour, Frosst and Hinton, 2017, arXiv:1710.09829)."""

from __future__ import annotations

from math import ceil, log2, prod
from typing import Annotated, Any, Literal

from annotated_types import Interval, doc

from advrun.engine import Rng, keras, ops
from advrun.errors import ConfigError
from advrun.losses import one_hot
from advrun.train import Objective, accuracy
from advrun.types import Count, Natural, NonNegative, Tensor

PRESETS = {
    "paper": {"stem": "paper", "channels": 256, "capsules": 32, "dimensions": 8, "class_dimensions": 16, "decoder": (512, 1024)},
}
EPSILON = 1e-9
"""Added to squared lengths, whose root and logarithm have no slope at 0."""
GRID = 8
"""The strided stem halves an image until its shorter side is at most this; the primary capsules halve it once more."""
TOTAL = "class_capsules_input"
"""The layer that gives s_j, (n, classes, class_dimensions)."""
PRESENT, ABSENT, DOWN = 0.9, 0.1, 0.5
"""m+, m- and lambda of the margin loss (equation 4)."""

Routing = Annotated[int, Interval(ge=1, le=5), doc("a whole number from 1 to 5")]


def capsnet(
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    routing: Routing = 3,
    stem: Literal["strided", "paper"] = "strided",
    channels: Count = 32,
    capsules: Count = 8,
    dimensions: Count = 8,
    class_dimensions: Count = 16,
    shift: Natural = 2,
    reconstruction: NonNegative = 0.0005,
    decoder: tuple[Count, ...] = (128, 256),
) -> Any:
    """CapsNet: convolutions, primary capsules, and one capsule for each class, routed to by agreement.

    The logit of class j is log |s_j|^2, s_j the input of its capsule. The capsule's length |v_j| = |s_j|^2 / (1 + |s_j|^2), which the paper
    reads as the probability that the class is there, is the sigmoid of that: the order of the classes is that of the lengths, and
    sigmoid(logits) gives the lengths back. As logits themselves the lengths would mislead attacks: they lie in [0, 1), so that a softmax
    of ten of them is never surer than 23 % and a margin never wider than 1, and their slope, 2 |s_j| / (1 + |s_j|^2)^2, dies away for
    capsules that are long and for those that are short, which are all others. The slope of log |s_j|^2 does not. Its softmax is
    |s_j|^2 / sum |s_k|^2, so cross-entropy is a likelihood; its margin is 0 where two lengths are equal, and a `confidence` of C&W is a
    difference of log-odds. The gradient goes through all steps of the routing, the coupling coefficients included; nothing is stopped.

    The default is a small form that trains on two cores; preset `paper` is that of the paper's figure 1.

    Args:
        routing: r, iterations of the routing.
        stem: strided for convolutions that halve the image until its shorter side is at most 8, with channels, 2 channels, ..., and
            3 x 3 primary capsules; paper for one 9 x 9 convolution, and 9 x 9 primary capsules with stride 2.
        channels: of the first convolution.
        capsules: primary capsules at each place of the grid.
        dimensions: of a primary capsule.
        class_dimensions: of the capsule of a class.
        shift: pixels that images are moved by while training, at most; less than their sides.
        reconstruction: weight of the squared error, summed over the pixels, of the image reconstructed from the true class's capsule; 0
            for none.
        decoder: neurons of the layers that reconstruct it.

    Raises:
        ConfigError: when the images are too small for the paper's form.
    """
    layers = keras.layers
    x = inputs = keras.Input(image_shape)
    short, depth = min(image_shape[:2]), capsules * dimensions
    if stem == "paper":
        if short < 17:
            raise ConfigError(f"capsnet: images of {image_shape[0]} x {image_shape[1]} are too small for stem: paper, which needs 17 x 17")
        x = layers.Conv2D(channels, 9, activation="relu", kernel_initializer="he_normal")(x)
        x = layers.Conv2D(depth, 9, strides=2, dtype="float32")(x)
    else:
        for halving in range(max(ceil(log2(short / GRID)), 1)):
            x = layers.Conv2D(
                channels * 2**halving,
                5 if halving == 0 else 3,
                strides=2,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
            )(x)
        x = layers.Conv2D(depth, 3, strides=2, padding="same", dtype="float32")(x)
    primary = squash(layers.Reshape((-1, dimensions), dtype="float32")(x))
    spread = keras.initializers.RandomNormal(stddev=dimensions**-0.5)
    shape = (classes, primary.shape[1], class_dimensions)
    votes = layers.EinsumDense("bid,ijdo->bjio", shape, kernel_initializer=spread, dtype="float32", name="votes")(primary)
    total = layers.Identity(dtype="float32", name=TOTAL)(routed(votes, routing))
    logits = ops.log(ops.sum(ops.square(total), axis=-1) + EPSILON)
    return keras.Model(inputs, logits, name="capsnet")


def squash(s: Tensor) -> Tensor:
    """v = |s|^2 / (1 + |s|^2) s / |s| (equation 1), over the last axis."""
    square = ops.sum(ops.square(s), axis=-1, keepdims=True) + EPSILON
    return s * (ops.sqrt(square) / (1.0 + square))


def routed(votes: Tensor, iterations: int) -> Tensor:
    """Procedure 1: the inputs s_j (n, classes, class_dimensions) of the class capsules, in the last of the iterations.

    Args:
        votes: the predictions u_j|i, (n, classes, primary capsules, class_dimensions).
        iterations: r. The first has equal coupling coefficients c_ij, as b_ij are 0.
    """
    total = ops.sum(votes, axis=2) / votes.shape[1]
    agreement = 0.0  # b_ij, (n, classes, primary capsules)
    for _ in range(iterations - 1):
        agreement = ops.squeeze(ops.matmul(votes, ops.expand_dims(squash(total), -1)), -1) + agreement
        coupling = ops.softmax(agreement, axis=1)
        total = ops.squeeze(ops.matmul(ops.expand_dims(coupling, 2), votes), 2)
    return total


def margin_loss(lengths: Tensor, y: Tensor) -> Tensor:
    """Equation 4 of lengths (n, classes) and labels (n,): (n,)."""
    present = ops.square(ops.relu(PRESENT - lengths))
    absent = ops.square(ops.relu(lengths - ABSENT))
    own = one_hot(lengths, y)
    return ops.sum(own * present + DOWN * (1.0 - own) * absent, axis=-1)


def shifted(x: Tensor, most: int, rng: Rng) -> Tensor:
    """Each image moved by up to `most` pixels along each axis; the edge is repeated where nothing comes in (the paper has zeros there)."""
    for axis in (1, 2):
        size = x.shape[axis]
        places = ops.arange(size) + rng.integers((x.shape[0], 1), -most, most + 1)
        x = ops.take_along_axis(x, ops.expand_dims(ops.clip(places, 0, size - 1), (3 - axis, 3)), axis)
    return x


def objective(model: Any, *, shift: int, reconstruction: float, decoder: tuple[int, ...]) -> tuple[Any, Objective]:
    """On images moved by up to `shift` pixels (section 5): margin loss, and the squared error of the image that is reconstructed from the
    true class's capsule (section 4.1).

    The decoder is trained with the network, and is no part of the classifier that comes out.
    """
    layers = keras.layers
    image_shape, (logits,) = model.input_shape[1:], model.outputs
    true = keras.Input((logits.shape[1],))
    masked = squash(model.get_layer(TOTAL).output) * ops.expand_dims(true, -1)
    x = layers.Flatten()(masked)
    for width in decoder:
        x = layers.Dense(width, activation="relu", kernel_initializer="he_normal")(x)
    x = layers.Dense(prod(image_shape), activation="sigmoid", dtype="float32")(x)
    network = keras.Model([model.inputs[0], true], [logits, layers.Reshape(image_shape, dtype="float32")(x)], name="capsnet_with_decoder")

    def losses(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        x = shifted(x, shift, rng) if training else x
        logits, restored = network([x, ops.one_hot(y, model.output_shape[-1])], training=training)
        margin, error = margin_loss(ops.sigmoid(logits), y), ops.sum(ops.square(restored - x), axis=(1, 2, 3))
        return {
            "loss": margin + reconstruction * error,
            "accuracy": accuracy(logits, y),
            "margin_loss": margin,
            "reconstruction_loss": error / prod(image_shape),
        }

    return network, losses
