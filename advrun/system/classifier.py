"""What is under attack: images (n, height, width, channels) float32 in [0, 1] -> logits (n, classes) float32.

A `Classifier` always runs in inference mode and always gives logits: `ends.py` cuts off what squashes them, or says why it
cannot. Normalisation and resizing are layers of the Keras model, purifiers are layers or stages in front of it (`stages.py`), so
gradients pass through the whole system.

An attack's `model` parameter is annotated with what it needs to see: `Gradients` (white box), `Scores` or `Decisions` (black
box). All of it is counted.
Attacks climb: they make a loss of (logits, y) large. A targeted attack descends it towards the target class. That switch
is made here once, in `toward`: the targeted view hands out the negated loss, and no attack knows the difference.
Where a detector stands beside the network (`detectors.py`) an attack sees the network's own classes, into which *rejected* is folded here
in the same way: as the class that it must get away from. So its losses feel the detector, and a rejected image is no success; `labels` says
of it the class of the attacked image (towards a class: another one), and, where an attack learns from images, that of the network.
People see *rejected* as it is: `predict` has an output more, the last, which is the largest where the image is rejected.
A loss that decides, such as the margin, is less its slack (`losses.ROUNDING`), towards a class as away from it, so that a success is
one wherever it is measured.

A random system (`stages.py`) gives logits that are means over several draws, with losses and gradients (EOT, expectation over
transformation: Athalye, Engstrom, Ilyas and Kwok, 2018, arXiv:1707.07397; Athalye, Carlini and Wagner, 2018, section 4.2), and its answer
is the class of the largest mean, as Xie et al. (2018, arXiv:1711.01991) average over draws (`draws.py`). Where one of its stages says so it
votes (`votes.py`): its answer is the class that most draws give, and attacks climb the mean softmax.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from advrun import engine
from advrun.config.mappings import from_mapping
from advrun.data import is_guess
from advrun.engine import ops
from advrun.errors import AdvrunWarning, ConfigError, DataError
from advrun.images import AnyImages, Images, blocks
from advrun.losses import Decisive, at_label, margin
from advrun.registry import Plugin
from advrun.system.detectors import as_attacked, with_rejected
from advrun.system.draws import DRAWS, Draws
from advrun.system.ends import logits_model
from advrun.system.foreign import Foreign
from advrun.system.inputs import ModelInput, Order
from advrun.system.modelfile import load_model
from advrun.system.readings import examine, shuffled
from advrun.system.stages import chained
from advrun.system.votes import sharing, surrogate, voted
from advrun.types import Tensor

KEPT_GRAPHS = 16
"""Compiled functions that a classifier keeps: a sweep over settings makes one for each."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (n, classes), y (n,)) -> (n,); see `losses.py`."""

Through = Callable[[Tensor], Tensor]
"""Anything -> images (n, h, w, c), differentiable."""


class Blind(Protocol):
    """View of attacks that never ask the attacked model anything."""

    classes: int
    image_shape: tuple[int, ...]
    targeted: bool


class Decisions(Protocol):
    """Black-box view of attacks that learn labels only.

    `asked`, (n,) bool, names the images whose answer is wanted: only these count as queries, and only they are sent to a
    remote model; what is returned for the others means nothing. Batches of k * n images (k variants of each of the n,
    stacked variant by variant) count k queries for each image; then `asked` has k * n entries too.
    """

    classes: int
    image_shape: tuple[int, ...]
    targeted: bool

    def labels(self, x: Tensor, asked: Tensor | None = None) -> Tensor:
        """The class that the model gives each image, (n,) int32. One query."""

    def succeeds(self, x: Tensor, y: Tensor, asked: Tensor | None = None) -> Tensor:
        """Whether each image is classified as the attack wants, (n,) bool: not as y, or, targeted, as y; `lead` > 0. One query."""

    def part(self, rows: Tensor) -> Decisions:
        """The view for the images of the batch numbered `rows` (m,) alone, so that counts go to the right images."""

    def unsmoothed(self) -> Decisions:
        """Of a smoothed classifier what it is smoothed of: f without the noise."""


class Scores(Decisions, Protocol):
    """Black-box view of attacks that learn all logits."""

    def logits(self, x: Tensor, asked: Tensor | None = None) -> Tensor:
        """(n, classes). One query."""

    def value(self, loss: Loss, logits: Tensor, y: Tensor) -> Tensor:
        """The loss as the attacker sees it: to be made large. A loss that decides is less its slack."""

    def lead(self, logits: Tensor, y: Tensor) -> Tensor:
        """How far the attack is ahead, (n,): above 0 when it has succeeded, by more than rounding may take back."""

    def part(self, rows: Tensor) -> Scores: ...


class Gradients(Scores, Protocol):
    """White-box view: an attack whose `model` is annotated so may ask for everything."""

    def value_and_gradient(
        self, loss: Loss, x: Tensor, y: Tensor, through: Through | None = None, asked: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss (n,), logits (n, classes), and the gradient of the loss with respect to x. Counts as one gradient.

        `through` makes the images that the model is shown out of x, which may then be anything that the gradient is wanted for.
        """

    def gradient(self, loss: Loss, x: Tensor, y: Tensor, through: Through | None = None, asked: Tensor | None = None) -> Tensor:
        """The last of `value_and_gradient`."""

    def jacobian(self, x: Tensor, classes: Tensor, asked: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (n, classes), and the gradients (k, n, h, w, c) of the logits numbered `classes`, (k, n) int32.

        Never negated, also for a targeted attack. Counts as k gradients, though the forward pass is shared.
        """

    def without_corners(self) -> Gradients:
        """The view for attacks that step onto linearised boundaries: where that of a class meets a detector's there is no corner.

        Who has succeeded in it has succeeded.
        """

    def part(self, rows: Tensor) -> Gradients: ...


class Classifier:
    """A Keras model under attack, or a chain of purifiers and such a model.

    Args:
        model: a `Chain`, or a Keras model with one image input in [0, 1], (n, height, width, channels), and one output (n, classes), or
            (n, 1) behind a sigmoid or tanh: two classes. What squashes at its end is cut off; the model itself is left as it is.
        name: how tables call it; the model's own name by default.
        input: what the model expects of its images where that is not RGB in [0, 1], as in YAML: {"channels": "bgr", "scale": 255}.
        classes: the order of its outputs where it is not that of class numbers: "alphabetical", or a list of them.
        image_shape: (height, width, channels) of the images, where `input` leaves it open.
        draws: where the system is random: how many draws its logits, losses and gradients are means over.
        seed: of these draws.

    Raises:
        ModelError: when the input or output has another shape, or when there are no logits to be had. ConfigError: for `input` or
            `classes` that say nothing sensible.
    """

    def __init__(
        self,
        model: Any,
        *,
        name: str | None = None,
        input: ModelInput | Mapping[str, Any] | None = None,
        classes: Order | Sequence[int] | None = None,
        image_shape: tuple[int, int, int] | None = None,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> None:
        chain = chained(model)
        self.foreign = Foreign(chain.network, from_mapping(ModelInput, input, "input"), _as_order(classes))
        self.model = logits_model(self.foreign.system(image_shape))
        self.chain = replace(chain, network=self.model)
        self.name = name or self.model.name
        self.image_shape: tuple[int, ...] = tuple(self.model.input_shape[1:])
        self.classes: int = self.model.output_shape[-1]
        self._begin()
        if self.chain.random:
            self.draws = Draws(draws, engine.Rng.from_seed(seed, 0xD4A3).key)

    draws = Draws()
    """How a random system is asked; a system that draws nothing is asked once."""

    smoothly = False
    """Whether *rejected* is folded in so that boundaries have no corners, see `detectors.folded`."""

    def _begin(self) -> None:
        self.sign = 1.0
        self.counter = engine.Counter("gradients", "queries")  # shared by all views
        self.rows: Tensor | None = None  # which images of the batch a `part` is about
        self.about: Tensor | None = None  # of all of the batch, what an attack is told of them: their classes, or targets
        self._runs: OrderedDict[Any, Callable[..., Any]] = OrderedDict()  # compiled functions, the last used at the end
        self.probed: set[str] = set()  # what has been looked at, and said

    @classmethod
    def from_file(cls, path: str | Path, **reading: Any) -> Classifier:
        """Read a `.keras` or `.h5` file, never running code from it. Raises ModelError.

        reading: input, classes and image_shape, as for the class itself.
        """
        return cls(load_model(path), name=Path(path).stem, **reading)

    @property
    def targeted(self) -> bool:
        """Whether y names the class to reach."""
        return self.sign < 0

    @property
    def detects(self) -> bool:
        """Whether a detector stands beside the network, so that an image may be rejected."""
        return bool(self.chain.detectors)

    def toward(self) -> Classifier:
        """The targeted view of this classifier: y names the class to reach, and every loss is negated."""
        view = copy(self)
        view.sign, view.about = -self.sign, None
        return view

    @property
    def random(self) -> bool:
        """Whether answers are means over draws."""
        return self.draws.random

    def drawing(self, count: int, rng: engine.Rng) -> Classifier:
        """The view of an attacker who averages over `count` draws, which differ each time that the system is asked; `rng` seeds them.

        All of them count. A system that draws nothing comes back as it is.
        """
        if not self.random:
            return self
        view = copy(self)
        view.draws = Draws(count, rng.key, self.counter)
        return view

    def plainly(self) -> Classifier:
        """The view that answers as the Keras model alone does: where the system is random, at one draw, always the same."""
        view = copy(self)
        view.draws = Draws()
        return view

    def unsmoothed(self) -> Classifier:
        """The view of what a smoothed classifier (`Chain.smoothed`) is smoothed of, f without the noise, at one draw."""
        view = copy(self)
        view.chain = replace(self.chain, purifiers=self.chain.purifiers[1:])
        view.draws = Draws(1, self.draws.key) if view.chain.random else Draws()
        return view

    # What the runner does around an attack; a model that can only be asked does it in its own way (`blackbox.py`) --------

    def check(self, plugin: Plugin, x: AnyImages | None = None) -> None:
        """Raise ConfigError or DataError for an attack or images that the model cannot meet."""

    def right(self, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Which images (n,) bool are classified right, by their logits (n, classes)."""
        return np.asarray(logits.argmax(-1) == y)

    def wrong(self, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Which images (n,) bool are given another class; one that is rejected is neither right nor wrong."""
        return ~self.right(logits, y) & ~(self.detects & (logits.argmax(-1) == self.classes))

    def withstands(self, before: np.ndarray, after: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Which images (n,) bool count as right after an attack, by their logits before and after it.

        With a detector those that are right and not rejected without the attack, and right or rejected under it: robust accuracy with
        detection (Tramèr, 2022, arXiv:2107.11630, section 3).
        """
        return self.right(before, y) & ~self.wrong(after, y) if self.detects else self.right(after, y)

    def around(self, x: Tensor, ball: Any, y: Tensor) -> Classifier:
        """The view for an attack on the images x, within the ball around them where there is one; y is what the attack is told of them."""
        if not self.detects:
            return self
        view = copy(self)
        view.about = y
        return view

    def shown(self, x: Tensor) -> Tensor:
        """The images as the model is shown them."""
        return x

    @contextmanager
    def failing_as_itself(self) -> Iterator[None]:
        """While inside, what the model raises in the middle of a graph comes out as it was raised."""
        yield

    # What attacks use: tensors in, tensors out -------------------------------------------------------------------

    def without_corners(self) -> Classifier:
        if not self.detects:
            return self
        view = copy(self)
        view.smoothly = True
        return view

    def part(self, rows: Tensor) -> Classifier:
        view = copy(self)
        view.rows = rows if self.rows is None else ops.take(self.rows, rows)
        return view

    def logits(self, x: Tensor, asked: Tensor | None = None) -> Tensor:
        self._count("queries", x, asked)
        return self.forward(x)

    def value_and_gradient(
        self, loss: Loss, x: Tensor, y: Tensor, through: Through | None = None, asked: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        def values(x: Tensor) -> tuple[Tensor, Tensor]:
            logits = self._as_attacked(self._climbed(through(x) if through else x, known), y)
            return self.value(loss, logits, y), logits

        self._count("gradients", y, asked)
        known = self._surrogate(lambda: through(x) if through else x)
        return self.draws.mean(lambda: engine.value_and_gradient(values, x), self.rows)

    def gradient(self, loss: Loss, x: Tensor, y: Tensor, through: Through | None = None, asked: Tensor | None = None) -> Tensor:
        return self.value_and_gradient(loss, x, y, through, asked)[2]

    def jacobian(self, x: Tensor, classes: Tensor, asked: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._count("gradients", x, asked, times=classes.shape[0])
        known = self._surrogate(lambda: x)
        return self.draws.mean(lambda: engine.jacobian(lambda x: self._as_attacked(self._climbed(x, known)), x, classes), self.rows)

    def value(self, loss: Loss, logits: Tensor, y: Tensor) -> Tensor:
        value = loss(logits, y)
        return self.sign * value - (loss.slack(value, at_label(logits, y)) if isinstance(loss, Decisive) else 0.0)

    def lead(self, logits: Tensor, y: Tensor) -> Tensor:
        return self.value(margin, logits, y)

    def labels(self, x: Tensor, asked: Tensor | None = None) -> Tensor:
        self._count("queries", x, asked)
        seen = self.forward(x) if self.about is not None or not self.detects else self.outputs(x)[:, : self.classes]
        return ops.cast(ops.argmax(seen, axis=-1), "int32")

    def succeeds(self, x: Tensor, y: Tensor, asked: Tensor | None = None) -> Tensor:
        return self.lead(self.logits(x, asked), y) > 0

    def _count(self, what: str, x: Tensor, asked: Tensor | None = None, times: int = 1) -> None:
        amount = ops.ones((ops.shape(x)[0],), "int32") if asked is None else ops.cast(asked, "int32")
        self.counter.add(what, amount * times * self.draws.count, self.rows)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) as attacks see them, uncounted."""
        return self._as_attacked(self.outputs(x))

    def outputs(self, x: Tensor) -> Tensor:
        """Logits, uncounted: what the runner itself uses. With a detector there is an output more, that of being rejected."""
        if self._votes and self.draws.deciding:
            return voted(self.draws, lambda: self._outputs(x))
        known = self._surrogate(lambda: x)
        return self.draws.mean(lambda: (self._outputs(x),), self.rows)[0] if known is None else known

    @property
    def _votes(self) -> bool:
        return self.random and self.chain.votes

    def _surrogate(self, images: Callable[[], Tensor]) -> Tensor | None:
        """Of a system that votes what attackers climb in place of the votes; None of others. See `votes.py`."""
        return surrogate(self.draws, lambda: self._outputs(images()), self.rows) if self._votes else None

    def _climbed(self, x: Tensor, known: Tensor | None) -> Tensor:
        """Outputs of one draw; of a system that votes what is `known` of all, with this draw's part of its gradient."""
        return self._outputs(x) if known is None else sharing(self._outputs(x), known)

    def _outputs(self, x: Tensor) -> Tensor:
        """Of one draw, where the system is random."""
        seen = self.chain.seen(x)
        logits = ops.cast(self.model(seen[-1], training=False), "float32")
        return with_rejected(logits, self.chain.excess(seen, logits)) if self.detects else logits

    def _as_attacked(self, outputs: Tensor, y: Tensor | None = None) -> Tensor:
        """Logits (n, classes) of the outputs. y: what is known of the images, where the view is not one around images."""
        if not self.detects:
            return outputs
        about = self.about if self.about is None or self.rows is None else ops.take(self.about, self.rows)
        return as_attacked(outputs, about, y, self.targeted, self.smoothly)

    # What people use: NumPy in, NumPy out ------------------------------------------------------------------------

    def predict(self, x: AnyImages, batch_size: int = 256) -> np.ndarray:
        """Logits (n, classes) float32 of images (n, height, width, channels), float32 in [0, 1] or uint8.

        With a detector they are (n, classes + 1): the last is the largest where the image is rejected.
        """
        return self.over_batches("outputs", self.outputs, check_images(x, self.image_shape), batch_size)

    def rejects(self, x: AnyImages, batch_size: int = 256) -> np.ndarray:
        """Which images (n,) bool a detector rejects; none where there is no detector."""
        return np.asarray(self.predict(x, batch_size).argmax(-1) == self.classes)

    def answers(self, x: AnyImages, batch_size: int = 256) -> np.ndarray:
        """The class that a random system gives each image in each of the draws that `predict` averages, (n, draws) int32."""
        return self.over_batches("answers", self._answers, check_images(x, self.image_shape), batch_size)

    def _answers(self, x: Tensor) -> Tensor:
        return self.draws.each(lambda: ops.cast(ops.argmax(self._outputs(x), axis=-1), "int32"))

    def accuracy(self, x: AnyImages, y: np.ndarray, batch_size: int = 256) -> float:
        """Share of the images classified right, 0 to 1.

        Warns (AdvrunWarning) once of a model that guesses on 8-bit images, and says how it may be meant; float ones may have been attacked.
        """
        x = check_images(x, self.image_shape)
        y = check_labels(y, len(x), self.classes)
        right = float((self.predict(x, batch_size).argmax(-1) == y).mean())
        if x.dtype == np.uint8 and is_guess(right, y) and (doubt := self.doubt(right, x, y)):
            warnings.warn(doubt, AdvrunWarning, stacklevel=2)
        return right

    def doubt(self, right: float, x: AnyImages, y: np.ndarray) -> str:
        """What is to be said where hardly more clean images are right than by guessing, and how the model may be meant; "" once said."""
        if "doubt" in self.probed:
            return ""
        self.probed.add("doubt")
        better = examine(self.foreign, *shuffled(x, y)).note  # with the share that is right now, of the images that it looked at
        measured = "" if "n = " in better else f" ({100 * right:.1f} %; n = {len(x)})"
        hint = better or "nothing that is said of such a model means much"
        return f"model {self.name!r} gets hardly more images right than by naming the commonest class{measured}; {hint}"

    @property
    def purifier(self) -> Any:
        """The layer of a defended network that cleans images before they are classified, or None."""
        return next((layer for layer in self.model.layers if layer.name == "purifier"), None)

    def purify(self, x: AnyImages, batch_size: int = 256) -> np.ndarray | None:
        """What the classifier behind the purifier is shown, float32 in [0, 1], at the first draw; None without a purifier.

        Noise that a smoothed classifier does not clip is clipped here, for the eye.
        """
        purifier = self.purifier
        if purifier is None and not self.chain.purifiers:
            return None

        def purify(x: Tensor) -> Tensor:
            with self.draws.first():
                shown = self.chain.purify(x)
                shown = shown if purifier is None else purifier(shown, training=False)
                return shown if self.chain.smoothed is None else ops.clip(shown, 0.0, 1.0)

        return self.over_batches("purify", purify, check_images(x, self.image_shape), batch_size)

    def over_batches(self, name: str, function: Callable[[Tensor], Tensor], x: AnyImages, batch_size: int) -> np.ndarray:
        """Apply a function of images, compiled once under `name`, in batches of one shape."""
        run = self.compiled(name, lambda: lambda images: function(engine.to_unit(images)))
        answers, done = np.empty(0, np.float32), 0
        for batch, size in batches(x, batch_size):
            answer = np.asarray(run(batch))[:size]
            answers = np.empty((len(x), *answer.shape[1:]), answer.dtype) if done == 0 else answers
            answers[done : done + size] = answer
            done += size
        return answers

    def compiled(self, key: Any, build: Callable[[], Callable[..., Any]], *, xla: bool = True) -> Callable[..., Any]:
        """The compiled form of `build()`, made once for each key and kept while it is among the last used; see `engine.compiled`."""
        key = (key, self.sign, *self.draws.identity)
        if key not in self._runs:
            self._runs[key] = engine.compiled(build(), xla=xla)
        self._runs.move_to_end(key)
        while len(self._runs) > KEPT_GRAPHS:
            self._runs.popitem(last=False)
        return self._runs[key]


def _as_order(classes: Any) -> Order | None:
    if isinstance(classes, str) and classes != "alphabetical":
        raise ConfigError(f"classes is {classes!r}; expected 'alphabetical', or a list of the classes in the order of the outputs")
    return classes if classes is None or isinstance(classes, str) else tuple(classes)  # type: ignore[return-value]


def batches(x: AnyImages, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """(batch, count) pairs of one shape: the last batch is padded with copies of its first row, `count` rows are real."""
    batch_size = min(batch_size, len(x))
    for batch in blocks(x, batch_size):
        yield pad(batch, batch_size), len(batch)


def pad(array: AnyImages, size: int) -> np.ndarray:
    """Repeat the first row until there are `size` rows."""
    array = np.asarray(array)
    missing = size - len(array)
    return array if missing == 0 else np.concatenate([array, np.repeat(array[:1], missing, axis=0)])


def check_images(x: Any, image_shape: tuple[int | None, ...]) -> AnyImages:
    """The images as an array of the right shape, uint8 or float32 in [0, 1]; `Images`, which are so, stay. Raises DataError."""
    x = x if isinstance(x, Images) else np.asarray(x)
    if x.dtype.kind not in "fiub":
        raise DataError(f"images are {x.dtype}; expected uint8 grey levels, or float32 in [0, 1]")
    expected = ", ".join("any" if side is None else str(side) for side in image_shape)
    if x.ndim != 4 or any(side not in (None, got) for side, got in zip(image_shape, x.shape[1:], strict=False)):
        raise DataError(f"images have shape {x.shape}; the model takes (n, {expected})")
    if len(x) == 0:
        raise DataError("no images were given: the first axis of x is empty")
    if x.dtype == np.uint8 or isinstance(x, Images):
        return x
    x = x.astype(np.float32, copy=False)
    low, high = x.min(), x.max()
    if not np.isfinite([low, high]).all():
        raise DataError(f"images hold NaN or infinite pixels, first in image {int(np.argmin(np.isfinite(x).all((1, 2, 3))))}")
    if low < 0 or high > 1:
        hint = "divide by 255" if low >= 0 and high <= 255 else "undo the normalisation"
        said = "input={'scale': 255}" if low >= 0 and high <= 255 else "input={'mean': ..., 'std': ...}"
        raise DataError(f"pixels run from {low:.8g} to {high:.8g}; advrun takes [0, 1]: {hint}, and say what the model expects by {said}")
    return x


def check_labels(y: Any, n: int, classes: int) -> np.ndarray:
    """The labels as int32 (n,), each in 0 .. classes - 1, from such or from (n, 1), or one-hot (n, classes). Raises DataError."""
    y = np.asarray(y)
    if y.shape == (n, 1):
        y = y[:, 0]
    if y.shape == (n, classes) and y.dtype.kind in "biuf" and np.isin(y, (0, 1)).all() and (y.sum(-1) == 1).all():
        y = y.argmax(-1)
    if y.dtype.kind == "f" and np.isfinite(y).all() and (y == np.rint(y)).all() and (np.abs(y) < 2**31).all():
        y = y.astype(np.int64)
    if y.shape != (n,) or not np.issubdtype(y.dtype, np.integer):
        raise DataError(
            f"labels are {y.dtype} {y.shape}; expected whole numbers ({n},), one class number per image, or one-hot ({n}, {classes})"
        )
    if y.min() < 0 or y.max() >= classes:
        raise DataError(f"labels run from {y.min()} to {y.max()}; the model has the classes 0 to {classes - 1}")
    return y.astype(np.int32)
