"""A system whose last layer is another one for each image: two classes, of which an attack on the image shall reach the second.

(Zimmermann, Brendel, Tramer and Carlini, 2022, arXiv:2206.13991, section 4.) Each image meets its own last layer, and all of them are one
tensor, so that an attack runs compiled on a whole batch, knows nothing of it, and meets everything else of the system as it is.

A detector stands beside the altered network as it stood beside the first, with its threshold, and judges what it judged before: the image,
the network's features, and the logits of the network's own last layer, which is kept for it. So the answer is one of the two classes or
*rejected*. Shown the two new classes instead, a detector that compares outputs (feature squeezing, MagNet's divergence) would compare what
its threshold was never learnt from; its Gaussians, or networks, know nothing of the new layer either. The paper does the same: its new
layer reads the features, and the detector goes on looking at the network that was there.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any, cast

import numpy as np

from advrun import engine
from advrun.engine import flat, ops
from advrun.images import AnyImages, blocks
from advrun.system.classifier import Classifier, check_images, pad
from advrun.system.detectors import with_rejected
from advrun.system.readout import Readout
from advrun.types import Tensor

MARKS = 8
"""Numbers by which an image is told from the others: its products with random directions."""


class Binarised(Classifier):
    """The system, with the last layers of n images.

    Args:
        system: what is altered; it stays as it is.
        cut: its network, cut at the last layer.
        images: (n, h, w, c) float32, which an attack starts from; no two alike.
        weights, bias: (n, f) and (n,): the second class is ahead by features . weights + bias.
    """

    def __init__(self, system: Classifier, cut: Readout, images: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> None:
        self.__dict__.update(system.__dict__)
        self._begin()
        self.classes, self.cut = 2, cut
        self.weights, self.bias = weights.astype(np.float32), bias.astype(np.float32)
        self.directions = directions(images)
        self.marks = marks(images, self.directions)
        self.heads: Tensor | None = None  # which last layer each image of the batch meets

    def around(self, x: Tensor, ball: Any, y: Tensor) -> Binarised:
        """The view for these of the images, wherever in the batch they stand."""
        view = cast("Binarised", super().around(x, ball, y))
        own = ops.matmul(flat(x), self.directions)[:, None]
        return view._headed(ops.argmin(ops.sum(ops.square(own - self.marks[None]), axis=-1), axis=-1))

    def part(self, rows: Tensor) -> Binarised:
        return cast("Binarised", super().part(rows))._headed(ops.take(self.heads, rows))

    def unguarded(self) -> Binarised:
        """The same without its detectors: the system of an attacker who does not know them."""
        view = copy(self)
        view.chain = replace(self.chain, detectors=())
        view._begin()
        return view

    def _headed(self, heads: Tensor) -> Binarised:
        view = copy(self)
        view.heads = heads
        return view

    def _outputs(self, x: Tensor) -> Tensor:
        """Logits (m, 2), of one draw, and beside a detector *rejected*; x may hold several variants of each image, one behind the other."""
        seen = self.chain.seen(x)
        features = ops.cast(self.cut.features(seen[-1], training=False), "float32")
        heads = ops.tile(self.heads, (ops.shape(x)[0] // ops.shape(self.heads)[0],))
        ahead = ops.sum(features * ops.take(self.weights, heads, axis=0), axis=-1) + ops.take(self.bias, heads)
        single = self.cut.kernel.shape[1] == 1
        scores = ahead[:, None] if single else ops.stack([-ahead / 2, ahead / 2], axis=-1)
        logits = ops.cast(self.cut.logits(scores), "float32")
        if not self.detects:
            return logits
        own = ops.cast(self.model(seen[-1], training=False), "float32")
        return with_rejected(logits, self.chain.excess(seen, own))

    def predict(self, x: AnyImages, batch_size: int = 256) -> np.ndarray:
        """Logits (m, 2), beside a detector (m, 3), of all images, changed or not, in their order; of variants, one set behind the other."""
        x = check_images(x, self.image_shape)
        size = min(batch_size, len(x))
        run = self.compiled("predict", lambda: lambda images, heads: self._headed(heads).outputs(engine.to_unit(images)))
        heads, answers, done = np.arange(len(x), dtype=np.int32) % len(self.bias), [], 0
        for batch in blocks(x, size):
            own = heads[done : done + len(batch)]
            answers.append(np.asarray(run(pad(batch, size), pad(own, size)))[: len(batch)])
            done += len(batch)
        return np.concatenate(answers)


def directions(images: np.ndarray) -> np.ndarray:
    """Random directions (d, MARKS) float32 for images (n, h, w, c)."""
    return np.random.default_rng(0xB17).normal(size=(int(np.prod(images.shape[1:])), MARKS)).astype(np.float32)


def marks(images: np.ndarray, along: np.ndarray) -> np.ndarray:
    """What tells each image from the others, (n, MARKS) float32."""
    return np.asarray(images.reshape(len(images), -1) @ along)
