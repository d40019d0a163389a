"""Printed colours: what a printer has, how far a picture is from it, and how bright a sticker is in a photograph."""

from __future__ import annotations

import numpy as np

from advrun.attacks._shapes import shrunk
from advrun.engine import ops
from advrun.types import Tensor

INKS = (
    *((255, 255, 255), (29, 29, 27), (0, 158, 224), (230, 0, 126)),
    *((255, 237, 0), (227, 6, 19), (0, 150, 64), (49, 39, 131)),
)
"""sRGB of paper, black, cyan, magenta, yellow and the three that two of them make, as coated paper shows them (FOGRA39)."""
QUANTILE = 0.95


def nonprintability(picture: Tensor, share: Tensor) -> Tensor:
    """NPS (Sharif, Bhagavatula, Bauer and Reiter, 2016, doi:10.1145/2976749.2978392, section 5.2), (n,), as a mean over the sticker.

    Of each pixel the product of its distances to all printable colours: 0 where it is one of them.

    Args:
        picture: (n, h, w, c), colours in [0, 1]; those of a grey picture are compared with grey inks.
        share: (h, w), how much of each pixel counts.
    """
    inks = np.array(INKS, np.float32) / 255
    inks = inks if picture.shape[-1] == 3 else inks.mean(-1, keepdims=True).repeat(picture.shape[-1], -1)
    product = 1.0
    for ink in inks:
        product = product * ops.sqrt(ops.sum(ops.square(picture - ink), axis=-1) + 1e-6)
    return ops.sum(product * share, axis=(1, 2)) / ops.maximum(ops.sum(share), 1e-6)


def light(x: Tensor, outline: np.ndarray) -> Tensor:
    """How bright white is on the sign of each photograph, (n, 1, 1, 1): the 95 % quantile of the sign's brightest channel.

    outline: mask of the sign. A printed colour appears multiplied by it: a sticker in the shade is dark too.
    """
    inside = shrunk(outline, x.shape[1], x.shape[2]).reshape(-1)
    places = np.flatnonzero(inside >= min(0.99, inside.max()))
    brightest = ops.reshape(ops.max(x, axis=-1), (-1, x.shape[1] * x.shape[2]))
    values = ops.sort(ops.take(brightest, places, axis=1), axis=-1)
    return ops.reshape(values[:, int(QUANTILE * (len(places) - 1))], (-1, 1, 1, 1))


def stuck(x: Tensor, stickers: Tensor, outline: np.ndarray) -> Tensor:
    """Photographs (n, h, w, c) with stickers (n or 1, h, w, c + 1) on their signs: ink, and the share of each pixel that it hides."""
    ink, hidden = stickers[..., :-1], stickers[..., -1:]
    return ops.clip(x * (1 - hidden) + light(x, outline) * ink, 0.0, 1.0)
