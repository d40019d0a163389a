"""Translation-invariant FGSM (Dong, Pang, Su and Zhu, 2019, CVPR, arXiv:1904.02884, section 3.3 and equation 8)."""

from __future__ import annotations

import numpy as np

from advrun.attacks._momentum import climb, slope_of
from advrun.engine import ops
from advrun.geometry import L2, Linf
from advrun.system import Gradients
from advrun.types import Cost, Count, Labels, NonNegative, Positive, Targets, Tensor

CONTRACT = {"ratio": 3.0}  # blurs the gradient, here of weights that are noise


def tifgsm(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    *,
    steps: Count = 10,
    step_size: Positive = 0.1,
    decay: NonNegative = 1.0,
    kernel: Count = 15,
) -> Tensor:
    """Translation-invariant FGSM: MI-FGSM with the gradient convolved by a Gaussian W, for the mean over shifted images.

    Returns the last iterate, to be shown to another model. The paper's kernel of 15 pixels is for images of 299.

    Args:
        steps: T, iterations.
        step_size: alpha, as a share of eps; the paper's is 1 / T.
        decay: mu, the decay factor of the momentum.
        kernel: side of the Gaussian kernel W, in pixels; its standard deviation is (kernel - 1) / 6.
    """
    slope = slope_of(model, y)
    weights = ops.convert_to_tensor(gaussian(kernel))

    def smoothed(_: Tensor, x_adv: Tensor, g: Tensor, memory: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return convolved(slope(x_adv), weights), memory

    return climb(x, ball, smoothed, steps=steps, step_size=step_size, decay=decay)


def cost(steps: int) -> Cost:
    """One gradient a step."""
    return Cost(gradients=steps)


def gaussian(kernel: int) -> np.ndarray:
    """Weights of one axis, (kernel,), from -3 to 3 standard deviations, of sum 1."""
    weights = np.exp(-(np.linspace(-3, 3, kernel) ** 2) / 2) if kernel > 1 else np.ones(1)
    return (weights / weights.sum()).astype(np.float32)


def convolved(images: Tensor, weights: Tensor) -> Tensor:
    """Each channel convolved with weights x weights, zeros outside."""
    channels = images.shape[-1]
    for shape in ((-1, 1, 1, 1), (1, -1, 1, 1)):
        kernel = ops.tile(ops.reshape(weights, shape), (1, 1, channels, 1))
        images = ops.depthwise_conv(images, kernel, padding="same", data_format="channels_last")
    return images
