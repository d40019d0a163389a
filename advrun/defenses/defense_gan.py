"""Defense-GAN: classify the nearest image that a GAN can paint (Samangouei, Kabkab and Chellappa, 2018, ICLR, arXiv:1805.06605)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from advrun import dcgan, engine
from advrun.engine import Rng, TrainStep, ops, repeat
from advrun.system import Chain, Purifier
from advrun.train import Fit, Player
from advrun.types import Count, Fraction, NonNegative, Positive, Tensor

PRESETS = {
    "small": {"restarts": 2, "steps": 30, "latent": 32, "width": 8},
    "paper": {"restarts": 10, "steps": 200, "latent": 128, "width": 64},
}
CONTRACT = {"settings": {"restarts": 4, "steps": 50, "learning_rate": 3.0, "latent": 8}, "epochs": 40}
ADAM = 0.5
"""beta_1 for both networks."""
UNROLLED = 4
"""Steps of the descent, without momentum, that gradients pass backward."""


def defense_gan(
    system: Chain,
    fit: Fit,
    *,
    restarts: Count = 2,
    steps: Count = 30,
    learning_rate: Positive = 10.0,
    momentum: Fraction = 0.7,
    latent: Count = 32,
    width: Count = 8,
    critic_steps: Count = 5,
    penalty: NonNegative = 10.0,
) -> Chain:
    """Replace every image by the nearest one that a GAN of the training images can paint, before it is classified.

    G is trained as a Wasserstein GAN with gradient penalty (Gulrajani et al., 2017, arXiv:1704.00028, algorithm 1) on clean images alone.
    For an image x, gradient descent with momentum makes the mean square of G(z) - x small from `restarts` random z, drawn for each image;
    the best G(z) is what the classifier sees (section 4 and figure 2). The classifier is the one that was trained on the images themselves.

    Backward it is passed through the last steps of the descent that won, as if those before were fixed: so attacks move an image along what
    G can paint. That is stronger than to pass it as if it were not there (BPDA), as Athalye, Carlini and Wagner did (2018, section 5.4.2
    of arXiv:1802.00420), who left 55 % on MNIST at an L2 distortion of 0.005: of 96 digits PGD with 20 steps at Linf 0.3 left 46 %, and
    68 % by BPDA. As it is random, attacks average over `draws`; each draw is a descent of its own, `restarts` times `steps` passes through
    G, which makes every attack slow: `draws: 1` is the cheapest.

    NOTE: the networks are a DCGAN's with layer normalisation. Each of the critic's steps sees its own part of the batch.

    Args:
        restarts: R, random z to begin with.
        steps: L, of gradient descent.
        learning_rate: of that descent, in which a pixel counts 1 / pixels.
        momentum: share of the last step that is taken again.
        latent: numbers of z.
        width: channels of the generator's last layer but one; the critic's first has as many.
        critic_steps: steps of the critic to one of the generator.
        penalty: lambda, the weight of the critic's gradient penalty.
    """
    shape = tuple(system.network.input_shape[1:])
    generator = trained_generator(fit, shape, latent, width, critic_steps, penalty)

    def project(x: Tensor, rng: Rng) -> Tensor:
        start = rng.normal((x.shape[0], restarts, latent))
        return nearest(lambda z: generator(z, training=False), x, start, steps, learning_rate, momentum)

    return system.behind(Purifier(project, backward="exact", random=True))


def nearest(generator: Callable[[Tensor], Tensor], x: Tensor, start: Tensor, steps: int, learning_rate: float, momentum: float) -> Tensor:
    """For each image the nearest G(z) that gradient descent finds; its gradient is that of `UNROLLED` more steps from there.

    Args:
        generator: G, (m, k) -> (m, h, w, c).
        x: (n, h, w, c).
        start: (n, r, k): for each image, where r descents begin.
        steps, learning_rate, momentum: v <- momentum v - rate dE/dz, z <- z + v, with E the mean square of G(z) - x over the image.
    """
    restarts, latent = start.shape[1:]
    goals = ops.repeat(ops.stop_gradient(x), restarts, axis=0)

    def error(z: Tensor, goals: Tensor) -> Tensor:
        return ops.mean(ops.square(generator(z) - goals), axis=(1, 2, 3))

    def slope(z: Tensor, goals: Tensor) -> Tensor:
        return engine.value_and_gradient(lambda z: (error(z, goals), None), z)[2]

    def step(_: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        z, velocity = state
        velocity = momentum * velocity - learning_rate * slope(z, goals)
        return z + velocity, velocity

    z = ops.reshape(start, (-1, latent))
    z = repeat(step, steps, (z, ops.zeros_like(z)))[0]
    best = ops.argmin(ops.reshape(error(z, goals), (-1, restarts)), axis=1)
    z = ops.take_along_axis(ops.reshape(z, (-1, restarts, latent)), best[:, None, None], axis=1)[:, 0]
    z = near = ops.stop_gradient(z)
    for _ in range(UNROLLED):
        near = near - learning_rate * slope(near, x)
    return engine.straight_through(generator(z), generator(near))


def wasserstein(score: Callable[[Tensor], Tensor], real: Tensor, made: Tensor, share: Tensor, penalty: float) -> dict[str, Tensor]:
    """The critic's loss f(G(z)) - f(x) + lambda (|grad f| - 1)^2 (n,), the gap f(x) - f(G(z)), and |grad f|.

    The gradient is that at the point which is `share` (n, 1, 1, 1), 0 to 1, of the way from the made image to the real one.
    """
    slope = engine.value_and_gradient(lambda x: (score(x), None), share * real + (1 - share) * made)[2]
    steepness = ops.sqrt(engine.total(ops.square(slope)) + 1e-12)
    gap = score(real) - score(made)
    return {"loss": penalty * ops.square(steepness - 1) - gap, "gap": gap, "steepness": steepness}


def trained_generator(fit: Fit, shape: tuple[int, ...], latent: int, width: int, critic_steps: int, penalty: float) -> Any:
    """G, trained to make E f(G(z)) large against a critic f, who learns by `wasserstein`."""
    generator, critic = dcgan.painter(shape, latent, width), dcgan.discriminator(shape, width)

    def score(x: Tensor) -> Tensor:
        return critic(x)[:, 0]

    def paint(x: Tensor, rng: Rng, training: bool) -> Tensor:
        return generator(rng.normal((ops.shape(x)[0], latent)), training=training)

    def judged(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        made = ops.stop_gradient(paint(x, rng, training))
        return wasserstein(score, x, made, rng.uniform((ops.shape(x)[0], 1, 1, 1)), penalty)

    def several(step: TrainStep, x: Tensor, y: Tensor, rng: Rng, progress: Any) -> dict[str, Tensor]:
        """One update of the critic after the other, each with its part of the batch."""
        count = min(critic_steps, x.shape[0])
        edges = [round(i * x.shape[0] / count) for i in range(count + 1)]
        for i, (low, high) in enumerate(pairwise(edges)):
            made = step.backward(x[low:high], y[low:high], rng.fold(i), progress)
            step.apply(made.weights)
        return made.values

    def paints(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        return {"loss": -score(paint(x, rng, training))}

    players = {"critic": Player(critic, judged, several, ADAM), "": Player(generator, paints, momentum=ADAM)}
    return fit.game(generator, players, stage="gan")
