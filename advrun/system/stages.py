"""What is under attack as a chain of stages: purifiers, one behind the other, then a network, and perhaps detectors beside it.

A purifier need not be differentiable. It says how attacks pass backward through it: by its own gradient (exact), as if it changed nothing
(identity), or through another function that is near it and has a gradient. The last two are BPDA, the backward pass differentiable
approximation (Athalye, Carlini and Wagner, 2018, arXiv:1802.00420, section 4.1): forward the attack meets the purifier as it is, backward
the approximation. The views of a `Classifier` go through the stages, so no attack and no training knows of them. Detectors are in
`detectors.py`.

A purifier may be random. What it draws for an image depends on a key and on the image itself (`engine.EachImage`), so that a system gives
the same answer again where the key is the same: in `predict`, as a Keras model, after a resume. Views draw by keys of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, NoReturn

import numpy as np

from advrun import engine
from advrun.engine import EachImage, Rng, keras, ops
from advrun.errors import ModelError
from advrun.system.detectors import Detector, Thresholded, calibrated
from advrun.types import Tensor

BACKWARD = ("exact", "identity")
FIXED = np.array([0x0FF5E7, 0xD4A3], np.int32)
"""The key by which random purifiers draw where none is meant: in plain Keras, and where a file is read again."""
OWN = 0x20000000
"""Tells what stages draw from what an attack or an objective draws by the same key."""


@dataclass(frozen=True, eq=False)
class Purifier:
    """A stage that cleans images: it maps (n, height, width, channels) float32 in [0, 1] to the same, each image by itself.

    forward: called with the images and the source of randomness, an `engine.Rng`; written in `engine.ops`. The first axis of all that is
    drawn is the images: `rng.normal(x.shape)`, `rng.integers((x.shape[0],), 0, 5)`.
    backward: "exact", the gradient of `forward` itself, at what was drawn; "identity"; or a function of the images alone, near `forward`,
    whose gradient is taken in its place.
    random: whether it draws. Gradients are then means over several draws, and so are answers (see `Classifier`).
    votes: of one that draws, whether the system's answer is the class that most draws give, rather than that of the largest mean logit.
    sigma: of one that adds Gaussian noise to the image and does nothing else, not even clip: the standard deviation, for certificates.

    Raises ModelError for any other `backward`.
    """

    forward: Callable[[Tensor, Any], Tensor]
    backward: Literal["exact", "identity"] | Callable[[Tensor], Tensor] = "exact"
    random: bool = field(default=False, kw_only=True)
    votes: bool = field(default=False, kw_only=True)
    sigma: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not callable(self.backward) and self.backward not in BACKWARD:
            raise ModelError(f"backward is {self.backward!r}; expected 'exact', 'identity', or a function of the images")

    def __call__(self, x: Tensor, rng: Rng | None = None) -> Tensor:
        """The purified images. rng: of each image's own; fixed draws without.

        Raises ModelError where the images have another shape, or where something is drawn by a purifier that is not `random`.
        """
        with engine.keyed(self.forward):
            value = self.forward(x, (rng or Rng(FIXED).of(x)) if self.random else _NothingRandom())
        if tuple(value.shape[1:]) != tuple(x.shape[1:]):
            raise ModelError(f"a purifier makes images of {tuple(value.shape[1:])} out of {tuple(x.shape[1:])}; it must keep their shape")
        if self.backward == "exact":
            return value
        return engine.straight_through(value, x if isinstance(self.backward, str) else self.backward(x))


class _NothingRandom:
    """What stands where a random purifier finds its randomness: one that does not say that it draws would be measured at a single draw."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ModelError(f"a purifier asks for rng.{name} and does not say that it draws; write Purifier(..., random=True)")


@dataclass(frozen=True, eq=False)
class Chain:
    """A system under attack: what a defence is given, and what it returns.

    network: a Keras model from images (n, height, width, channels) float32 in [0, 1] to logits (n, classes). purifiers: what is in front
    of it, in the order in which images pass. detectors: detectors beside it; one is enough to reject an image.
    """

    network: Any
    purifiers: tuple[Purifier, ...] = ()
    detectors: tuple[Thresholded, ...] = ()

    def behind(self, purifier: Purifier) -> Chain:
        """The same system with a purifier in front of all that is there."""
        return replace(self, purifiers=(purifier, *self.purifiers))

    def beside(self, detector: Detector, fit: Any, false_positives: float) -> Chain:
        """The same system with a detector beside it, which judges images as they come to the purifiers that there are now.

        Args:
            detector: what judges.
            fit: `train.Fit`, whose validation images give the threshold: training images that nothing was trained on, never test images.
            false_positives: share of the validation images that is rejected, 0 to 1.
        """

        def threshold(training: Any, validation: Any) -> dict[str, Any]:
            scores = validation.over(lambda x: detector(x, self.logits(x)))
            return dict(zip(("threshold", "scale"), calibrated(scores, false_positives), strict=True))

        found = fit.statistics(f"threshold {len(self.detectors) + 1}", threshold)
        added = Thresholded(detector, float(found["threshold"]), float(found["scale"]), len(self.purifiers))
        return replace(self, detectors=(*self.detectors, added))

    def seen(self, x: Tensor) -> list[Tensor]:
        """The images in front of each purifier, and last what the network is shown."""
        shown, rng = [x], self._source(x)
        for place, purifier in enumerate(self.purifiers):
            shown.append(purifier(shown[-1], rng and rng.fold(place)))
        return shown

    def purify(self, x: Tensor) -> Tensor:
        """What the network is shown of images."""
        return self.seen(x)[-1]

    def logits(self, x: Tensor) -> Tensor:
        """What the network says of images, (n, classes) float32; for detectors that ask it about other images than the one they judge."""
        return ops.cast(self.network(self.purify(x), training=False), "float32")

    def excess(self, seen: list[Tensor], logits: Tensor) -> Tensor:
        """How far the most alarmed detector is above its threshold, (n,); `seen` as above."""
        excess = [each.excess(seen[len(self.purifiers) - each.behind], logits) for each in self.detectors]
        return excess[0] if len(excess) == 1 else ops.max(ops.stack(excess), axis=0)

    def _source(self, x: Tensor) -> EachImage | None:
        """What random purifiers draw from: by the key that is meant here (`engine.drawing`), else always the same."""
        if not any(purifier.random for purifier in self.purifiers):
            return None
        said = engine.drawn()
        return (Rng(FIXED) if said is None else said.fold(OWN)).of(x)

    @property
    def random(self) -> bool:
        """Whether anything in it draws: a purifier in front of the network, or one among its layers."""
        return any(purifier.random for purifier in self._all_purifiers())

    @property
    def votes(self) -> bool:
        """Whether its answer is the class that most draws give, as one of its purifiers says."""
        return any(purifier.votes for purifier in self._all_purifiers())

    @property
    def smoothed(self) -> float | None:
        """The sigma of the Gaussian noise under which it votes, where nothing is in front of that; None for any other system."""
        return self.purifiers[0].sigma if self.purifiers and self.purifiers[0].votes else None

    def _all_purifiers(self) -> Iterator[Purifier]:
        yield from self.purifiers
        for layer in _stage_layers(self.network):
            yield from layer.chain.purifiers

    @property
    def variables(self) -> list[Any]:
        """All weights of the network."""
        return list(self.network.variables)

    def as_model(self) -> Any:
        """The same system as one Keras model, whose first layer the purifiers are; a `.keras` file would not hold what they do."""
        if not self.purifiers:
            return self.network
        inputs = keras.Input(self.network.input_shape[1:])
        layer = _layer()(self, depth=len(_stage_layers(self.network)) + 1)
        return keras.Model(inputs, self.network(layer(inputs)), name=f"purified_{self.network.name}")


def chained(system: Any) -> Chain:
    """The chain of a Keras model, or a chain as it is."""
    return system if isinstance(system, Chain) else Chain(system)


def is_one_file(system: Chain) -> bool:
    """Whether a `.keras` file holds the whole system: no purifier in front of the network, none among its layers, no detector beside it."""
    return not system.purifiers and not system.detectors and not _stage_layers(system.network)


def _stage_layers(network: Any) -> list[Any]:
    """The layers of a network that pass images through purifiers."""
    return [layer for layer in network._flatten_layers() if isinstance(layer, _layer())]


@cache
def _layer() -> Any:
    """The class of the layer that passes images through purifiers; made when it is needed, for Keras is slow to import."""

    class Stages(keras.layers.Layer):  # type: ignore[misc, name-defined]
        """Purifiers as the layer of a model, for this process. depth: its number among such layers of one model, the last the first."""

        def __init__(self, chain: Chain, depth: int = 1, **options: Any) -> None:
            super().__init__(**{"name": "purifier", "trainable": False, **options})
            self.chain, self.depth = chain, depth

        def call(self, x: Tensor) -> Tensor:
            said = engine.drawn()
            if said is None:
                return self.chain.purify(x)
            with engine.drawing(said.fold(self.depth)):  # other numbers than those of the stages before it
                return self.chain.purify(x)

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "chain": self.chain, "depth": self.depth}

    return Stages
