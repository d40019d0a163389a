"""Would more clean images be right if the model were shown them in another way? Then it is not read as its author meant.

Trained classifiers expect RGB or BGR, pixels from 0 to 1, 0 to 255, -1 to 1, or standardised, and their classes in the order of their
numbers or of the numbers as text. Nothing in the file says which; a few hundred clean images do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from advrun import engine
from advrun.errors import ModelError
from advrun.images import AnyImages
from advrun.system.candidates import SKILLED, SURELY, Reading, readings
from advrun.system.ends import logits_model
from advrun.system.foreign import Foreign
from advrun.system.inputs import ModelInput, channels_last, preparation

CLAIMED, TESTED, SCREENED = 2000, 512, 64
"""Images on which the author's accuracy is measured, on which the best readings are compared, and on which all are tried."""
SIDE = 64
"""Of larger images than this there are fewer, in proportion to their pixels, but never less than a quarter."""
FINALISTS = 4
CLEARLY = 0.1
"""Smallest gain of a far-fetched reading: one in grey, or in an order of classes that was fitted."""
TIED = 0.05
"""Share of images whose largest outputs are equal that is worth a word."""
SIGNIFICANT, MATTERS = 0.05, 0.01
"""Largest p value, over all readings that were tried, and smallest gain, of a reading that is worth a word."""
BATCH = 128

Found = tuple[tuple[Reading, int, int, int], ...]
"""(reading, right then, right now, of how many) of each that is better, the best first."""


@dataclass(frozen=True)
class Examination:
    """What was found.

    right, n: clean images that are right as the model is read now, of how many. better: (reading, right then, right now, of how many).
    tried: how many other readings were. tied: share of images whose largest outputs are equal, 0 where it is small or explained.
    """

    model: Foreign
    right: int
    n: int
    better: Found = ()
    tried: int = 0
    tied: float = 0.0

    @property
    def accuracy(self) -> float:
        return self.right / self.n

    @property
    def note(self) -> str:
        """A sentence about the best other reading, or about outputs that are equal, "" where there is neither."""
        return self._sentence(1)

    @property
    def _ties(self) -> str:
        if not self.tied:
            return ""
        return f"its largest outputs are equal on {100 * self.tied:.0f} % of the images: something cuts its scores off"

    def _sentence(self, most: int) -> str:
        """The readings that are about as good as the best, the plainest first."""
        found = []
        enough = max((then for _, then, _, _ in self.better), default=0) - MATTERS * self.n
        for reading, then, now, n in [each for each in self.better if each[1] >= enough][:most]:
            with_words = f"with {in_a_row(reading.words)}" if reading.words else "with images as they are"
            found.append(f"{with_words} {then / n:.1%} would be right (as it is: {now / n:.1%}; n = {n}); {reading.remedy(self.model)}")
        return "; or ".join(found).replace("%", " %") or self._ties

    def check(self) -> None:
        """Raise ModelError when the accuracy that the author reports is missed by more than chance allows."""
        claim = self.model.claim
        if claim is None:
            return
        from scipy.stats import beta

        high = 1.0 if self.right == self.n else float(beta.ppf(0.975, self.right + 1, self.n - self.right))
        if claim > high:
            hint = self._sentence(3) or (
                f"none of the {self.tried} other readings that were tried comes nearer" if self.tried else "no other reading was tried"
            )
            measured = f"{self.accuracy:.1%} of {self.n:,} clean images are right (at most {high:.1%} by chance)".replace("%", " %")
            raise ModelError(f"{self.model}: {measured}, expect says {100 * claim:g} %: nothing is attacked; {hint}")


def examine(model: Foreign, x: np.ndarray, y: np.ndarray, names: tuple[str, ...] = ()) -> Examination:
    """Measure the clean accuracy of a model that fits the images, and look for a reading that gives clearly more. Raises ModelError.

    x, y: (n, height, width, channels) uint8 or float32 in [0, 1], and labels, in random order; the first ones are looked at.
    names: of the classes.
    """
    small = min(1.0, max(0.25, SIDE**2 / np.prod(x.shape[1:3])))
    runner = _Runner(model, x, y, names)
    tested = int(TESTED * small)
    own = Reading(model.expects, model.order)
    base = runner.right(own, tested)
    measured = runner.right(own, CLAIMED) if model.claim is not None else base
    examined = Examination(model, int(measured.sum()), len(measured))
    if base.all():
        return examined
    others = [each for each in readings(model, x.shape[3], runner.statistics) if (each.expects, each.order) != (own.expects, own.order)]
    score = {each: runner.right(each, int(SCREENED * small)).mean() for each in others}
    finalists = sorted(others, key=lambda each: (-score[each], each.odd))[:FINALISTS]
    outcome = {each: runner.right(each, tested) for each in finalists}
    good = [
        each
        for each in _without_grey(outcome, base)
        if _is_better(outcome[each], base, len(others)) and _skill(outcome[each], y[:tested]) >= each.least(own)
    ]
    good.sort(key=lambda each: -outcome[each].sum())
    if good:
        best = outcome[good[0]]
        equal = [each for each in good if _chance(best, outcome[each]) > SIGNIFICANT]  # of those the plainest is meant
        good.sort(key=lambda each: (each not in equal, each.odd if each in equal else 0, -outcome[each].sum()))
    better = tuple((each, int(outcome[each].sum()), int(base.sum()), len(base)) for each in good)
    tried = len(others)
    if not better:
        better, more = _assigned(runner, own, others, len(base))
        tried += more
    tied = runner.tied(own, tested)
    if tied >= TIED and better and not _explains(runner, better[0], tied, tested):
        better = ()
    return replace(examined, better=better, tried=tried, tied=tied if tied >= TIED and not better else 0.0)


def _without_grey(outcome: dict[Reading, np.ndarray], base: np.ndarray) -> list[Reading]:
    """The readings, less one in grey that does not stand out: grey images have less contrast, and so smaller scores."""
    colour = [int(right.sum()) for each, right in outcome.items() if not each.makes_grey]
    most = max(colour, default=0)
    return [
        each
        for each, right in outcome.items()
        if not each.makes_grey or (right.mean() - base.mean() >= CLEARLY and right.sum() - most >= MATTERS * len(base))
    ]


def _explains(runner: _Runner, found: tuple[Reading, int, int, int], tied: float, most: int) -> bool:
    """Whether a reading gives more than equal scores can have cost, or is free of them and gives much more."""
    reading, then, now, n = found
    gain = (then - now) / n
    return gain > tied or (gain >= SKILLED and runner.tied(reading, most) < tied / 10)


def _assigned(runner: _Runner, own: Reading, others: Sequence[Reading], most: int) -> tuple[Found, int]:
    """The order of classes that the first half of the images shows, judged by the second half; and how many orders were tried.

    Tried as the model is read now, and for the two other readings of pixels that such an order suits best.
    """
    half, classes = most // 2, runner.model.classes
    if classes < 3 or half < 3 * classes:
        return (), 0
    plain = {each.expects: each for each in others if each.order is None and not each.makes_grey}
    tried = {expects: each for expects, each in plain.items() if expects != own.expects}
    small = {expects: _fit(runner, expects, SCREENED)[1] for expects in tried}
    chosen = [own, *(tried[expects] for expects in sorted(tried, key=lambda expects: -small[expects])[:2])]
    found: list[tuple[Reading, int, int, int]] = []
    base, y = runner.right(own, most)[half:], runner.y[half:most]
    for each in chosen:
        order, _ = _fit(runner, each.expects, most, half)
        words = (f"the labels in an order found from {half} other images", *(each.words if each is not own else ()))
        reading = replace(each, order=order, words=words, odd=each.odd + 3)
        right = runner.right(reading, most)[half:]
        is_clear = right.mean() - base.mean() >= CLEARLY and _is_better(right, base, len(tried) + 1)
        if is_clear and _skill(right, y) >= SURELY:
            found.append((reading, int(right.sum()), int(base.sum()), len(base)))
    return tuple(sorted(found, key=lambda each: -each[1])), len(chosen)


def _fit(runner: _Runner, expects: ModelInput, most: int, used: int | None = None) -> tuple[tuple[int, ...], int]:
    """The class of each output that makes most of the first `used` of `most` images right, and how many those are.

    Kuhn, The Hungarian method for the assignment problem, 1955, doi:10.1002/nav.3800020109.
    """
    from scipy.optimize import linear_sum_assignment

    outputs = runner.outputs(expects, most)[0][:used]
    counts = np.zeros((runner.model.classes, runner.model.classes), np.int64)
    np.add.at(counts, (outputs, runner.y[: len(outputs)]), 1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return tuple(map(int, columns)), int(counts[rows, columns].sum())


def _skill(right: np.ndarray, y: np.ndarray) -> float:
    """The share of the way from always naming the commonest class to being always right."""
    guess = np.bincount(y).max() / len(y)
    return float((right.mean() - guess) / (1 - guess)) if guess < 1 else float(right.all())


def in_a_row(words: Sequence[str]) -> str:
    """a, b and c."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def shuffled(x: AnyImages, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As many images and labels as are looked at, drawn at random and always the same."""
    rows = np.random.default_rng(0x0DD).permutation(len(x))[:TESTED]
    return np.asarray(x[rows]), y[rows]


def _is_better(right: np.ndarray, base: np.ndarray, tried: int) -> bool:
    return bool(right.mean() - base.mean() >= MATTERS and _chance(right, base) * tried < SIGNIFICANT)


def _chance(right: np.ndarray, base: np.ndarray) -> float:
    """Probability that no worse a reading wins so often by chance (exact one-sided test of McNemar, 1947, doi:10.1007/BF02295996)."""
    from scipy.stats import binom

    won, lost = int((right & ~base).sum()), int((base & ~right).sum())
    return float(binom.sf(won - 1, won + lost, 0.5))


class _Runner:
    """Shows the model images in many ways; its own part is compiled once."""

    def __init__(self, model: Foreign, x: np.ndarray, y: np.ndarray, names: tuple[str, ...]) -> None:
        self.model, self.x, self.y, self.names = model, x, y, names
        network = channels_last(model.model)
        try:
            network = logits_model(network)  # as a run does: scores that a function squashes may be equal where their logits are not
        except ModelError:
            if network.output_shape[-1] == 1:
                raise
        self._run = engine.compiled(lambda images: network(images, training=False))
        self._known: dict[tuple[ModelInput, int], tuple[np.ndarray, np.ndarray]] = {}

    def right(self, reading: Reading, most: int) -> np.ndarray:
        """Of the first `most` images, (n,) bool."""
        answers = self.outputs(reading.expects, most)[0]
        if reading.order is not None:
            answers = np.asarray(replace(self.model, order=reading.order).numbers(self.names))[answers]
        return np.asarray(answers == self.y[:most])

    def tied(self, reading: Reading, most: int) -> float:
        """Share of the first `most` images whose largest outputs are equal."""
        return float(self.outputs(reading.expects, most)[1].mean())

    def outputs(self, expects: ModelInput, most: int) -> tuple[np.ndarray, np.ndarray]:
        """The largest output of the first `most` images (n,), and whether another is as large (n,) bool."""
        key = expects, most
        if key not in self._known:
            self._known[key] = self._answers(expects, self.x[:most])
        return self._known[key]

    def _answers(self, expects: ModelInput, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        layers = preparation(self.model.model, expects, x.shape[1:])
        found = []
        for start in range(0, len(x), BATCH):
            batch = x[start : start + BATCH]
            padded = np.concatenate([batch, np.repeat(batch[:1], min(BATCH, len(x)) - len(batch), axis=0)])
            images = engine.tf.constant(engine.to_unit(padded))
            for layer in layers:
                images = layer(images)
            found.append(np.asarray(self._run(images))[: len(batch)])
        scores = np.concatenate(found)
        return scores.argmax(-1), (scores == scores.max(-1, keepdims=True)).sum(-1) > 1

    @cached_property
    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each channel of the images, from 0 to 1."""
        x = engine.to_unit(self.x[:BATCH]).reshape(-1, self.x.shape[3])
        return x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
