"""Natural adversaries (Zhao, Dua and Singh, 2018, ICLR, arXiv:1710.11342): algorithm 1, iterative stochastic, and 2, hybrid shrinking."""

from __future__ import annotations

from typing import Any, Literal

from advrun import engine
from advrun.attacks._gan import LossName
from advrun.attacks._generative import gan as fit
from advrun.attacks._generative import inverter, painter
from advrun.engine import Rng, ops, repeat, select
from advrun.system import Decisions
from advrun.types import Count, Labels, Positive, Targets, Tensor

__all__ = ["fit", "natural"]

CONTRACT = {"settings": {"epochs": 2, "queries": 100, "latent": 4}, "surrogate": True}


def natural(
    model: Decisions,
    x: Tensor,
    y: Labels | Targets,
    rng: Rng,
    fitted: Any,
    *,
    search: Literal["iterative", "shrinking"] = "iterative",
    queries: Count = 1000,
    samples: Count = 50,
    step_size: Positive = 0.3,
    radius: Positive = 10.0,
    patience: Count = 5,
    latent: Count = 32,
    loss: LossName = "relativistic_average",
    epochs: Count = 10,
    images: Count = 10_000,
    learning_rate: Positive = 1e-3,
    width: Count = 16,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Natural adversaries: the image of a GAN that the model gets wrong, and whose noise is nearest to the one that x is inverted to.

    Around z' = I(x) shells (l, r] are searched, at N random places each. Algorithm 1 (iterative) goes outward, (0, dr], (dr, 2 dr] and so
    on, and takes the nearest success of the first shell that has any. Algorithm 2 (shrinking) begins with (0, r]. While r - l >= dr a
    success becomes the new r, with l = 0, and a failure moves l to the middle. Then it goes inward from r, dr at a time, until B shells
    in a row had no success.

    The images are new ones, of no small norm: they look like data, as far as the GAN does (its samples are in the report), and a person
    must judge whether they still show the class. GAN and inverter learn from training images alone: they are trained once for all
    attacks that ask for the same ones, whatever the search and the system.

    NOTE: the paper's GAN is Wasserstein's; here it has one of four losses.

    Args:
        search: which algorithm.
        queries: at most this many for each image.
        samples: N, places in each shell.
        step_size: dr, the shells' thickness; noise of `latent` numbers is about sqrt(latent) long.
        radius: r, where algorithm 2 begins.
        patience: B, of algorithm 2.
        latent: numbers of the noise.
        loss: of the GAN: vanilla, least_squares, relativistic or relativistic_average.
        epochs: passes over the training images, for the GAN and again for the inverter.
        images: how many training images they learn from.
        learning_rate: of Adam.
        width: channels of the last layer but one.
    """
    shape, samples = tuple(x.shape[1:]), min(samples, queries)
    n = ops.shape(x)[0]
    start = engine.with_weights(inverter(shape, latent, width), fitted["inverter"], x)
    variants, ys = (samples, n), ops.tile(y, (samples,))

    def shell(i: Tensor, low: Tensor, high: Tensor, asked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the places in (low, high] the nearest success: whether there is one (n,), its image, its distance (n,)."""
        draw = rng.fold(i)
        direction = ops.swapaxes(draw.normal((n, samples, latent)), 0, 1)
        distance = low + (high - low) * ops.transpose(draw.uniform((n, samples)))
        z = start + distance[..., None] * direction / ops.sqrt(ops.sum(ops.square(direction), axis=-1, keepdims=True))
        made = engine.with_weights(painter(shape, latent, width), fitted["painter"], ops.reshape(z, (-1, latent)))
        wrong = ops.reshape(model.succeeds(made, ys, asked=ops.tile(asked, (samples,))), variants)
        distance = ops.where(wrong, distance, float("inf"))
        chosen = ops.take(made, ops.cast(ops.argmin(distance, axis=0), "int32") * n + ops.arange(n), axis=0)
        return ops.logical_and(asked, ops.any(wrong, axis=0)), chosen, ops.min(distance, axis=0)

    def outward(i: Tensor, state: Any) -> Any:
        best, nearest, found = state
        low = step_size * ops.cast(i, "float32") * ops.ones_like(nearest)
        new, chosen, distance = shell(i, low, low + step_size, ~found)
        return select(new, chosen, best), select(new, distance, nearest), ops.logical_or(found, new)

    def inward(i: Tensor, state: Any) -> Any:
        best, nearest, found, low, high, missed = state
        wide = high - low >= step_size
        low = ops.where(wide, low, ops.maximum(high - step_size, 0.0))
        asked = ~ended(state)
        new, chosen, distance = shell(i, low, high, asked)
        empty = ops.logical_and(asked, ~new)
        narrow = ops.logical_and(empty, ~wide)
        missed = ops.where(new, 0, missed + ops.cast(narrow, "int32"))
        middle = ops.where(ops.logical_and(empty, wide), (low + high) / 2, low)
        # A shell that was narrow stays so: what is nearer is searched next, and not all the way to z' again.
        again = ops.where(wide, 0.0, ops.maximum(distance - step_size / 2, 0.0))
        low, high = ops.where(new, again, middle), ops.where(new, distance, ops.where(narrow, low, high))
        return select(new, chosen, best), select(new, distance, nearest), ops.logical_or(found, new), low, high, missed

    def ended(state: Any) -> Tensor:
        return ops.logical_or(state[5] >= patience, state[4] <= 0)

    nothing = ops.zeros_like(y) > 0
    unknown = ops.zeros(ops.shape(y), "float32") + float("nan")
    state: Any = (x, unknown, nothing)
    if search == "iterative":
        state = repeat(outward, queries // samples, state, until=lambda state: ops.all(state[2]))
    else:
        state = (*state, ops.zeros_like(unknown), ops.full_like(unknown, radius), ops.zeros_like(y))
        state = repeat(inward, queries // samples, state, until=lambda state: ops.all(ended(state)))
    return state[0], {"latent_distance": state[1]}
