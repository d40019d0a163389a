"""A unit test of an evaluation: the system under attack is altered so that every image surely has an adversarial example within eps.

The binarisation test of Zimmermann, Brendel, Tramer and Carlini (2022, Increasing Confidence in Adversarial Robustness Evaluations,
arXiv:2206.13991, section 4). Of each clean image: random points within 0.95 eps of it, and one planted as far out as eps lets it; the
last layer of the network is replaced by a linear one that tells the planted point from all others. What stands before that layer, and
behind it, is the user's own system. An attack that does not find an example here is too weak to say anything of that system.

How hard the test is, random search says: the share of the images of which one of 200 random points, half of them as far out as the
planted one, is an example too. The planted point is found by chance so often, and the share that an attack finds is counted from there.
NOTE: every other random point is as far out as 0.95 eps lets it, where the paper's are uniform in the ball: else any point far out would
be on the planted one's side, and random search would find it. The paper trains its layer by logistic regression; here it is the linear
discriminant (Fisher, 1936), in closed form, its threshold nine tenths of the way from the outermost of the other points to the planted
one. Its scale makes the clean image as sure as it was before: a system whose gradients die because it is too sure is altered into one
that is as sure.

Where a detector stands beside the system, it stays as it is (`binarised.py`), and an example is one only where the detector accepts it: so
the clean image is one that it accepts, and so is the planted point; random search must get past it too. It is chosen among many, those
first that are nearest to being rejected: who goes on in its direction, and does not know the detector, is rejected (an order chosen after
it was seen that in none an attack that ignores the detector passes beside most; README has both figures). What is accepted is
often smooth, so most of these points are random in blocks of pixels, of several sizes, and so are the points around. An image with no
accepted point among the candidates has no example, and is left out. How much the detector matters, the same attack says that does
not know it (`found(..., unguarded=True)`): where that finds as many, the test was one of the network alone.
NOTE: the paper (in its code, of its three detectors) draws until a point is accepted, as here. Beside it puts it attack images that are
rejected on the planted point's side, and it has an inverted test, where all is an example that the detector rejects, lest a detector that
accepts all around pass for one that was got past; that, here, the attack that does not know it tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from advrun import engine
from advrun.attack import Attack
from advrun.craft import craft
from advrun.engine import Rng, ops
from advrun.geometry import Ball
from advrun.images import by_blocks
from advrun.system import Classifier
from advrun.system.binarised import Binarised, directions, marks
from advrun.system.classifier import pad
from advrun.system.detectors import excess_of
from advrun.system.readout import Readout, readout
from advrun.types import Tensor

INNER = 999
"""Random points around each image, beside itself (the paper's number), every other as far out as it may be."""
GAP = 0.05
"""These stay by this share of eps within the ball (the paper's eta)."""
CLOSENESS = 0.9
"""Where the threshold lies, from the outermost other point (0) to the planted one (1)."""
RANDOM = 200
"""Points of the random search."""
RIDGE = 1e-3
"""Added to the variances of the features, as a share of their mean: there may be fewer points than features."""
APART = 0.05
"""The planted point stands out from all others by this share of the clean image's way to the plane: by more than rounding takes back."""
BLOCKS = (1, 4, 2, 8)
"""Beside a detector: the sides, by turns, of the blocks of pixels in which points far out are random."""
TRIED = 64
"""Beside a detector: candidates for each image, at least, among which it may accept one."""
ALIKE = 1e-3
"""Images whose marks are nearer to each other are one and the same."""


@dataclass(frozen=True, eq=False)
class Planted:
    """Images in which an example is planted.

    classifier: the altered system. x: (n, h, w, c) float32, clean, class 0. example: (n, h, w, c), within the ball, class 1. random: (n,)
    bool, found by random search. left_out: images without an example: the system was wrong on them or rejected them, no plane sets a point
    apart, or a detector accepts none of the candidates.
    """

    classifier: Binarised
    ball: Ball
    x: np.ndarray
    example: np.ndarray
    random: np.ndarray
    left_out: int


def plant(system: Classifier, x: np.ndarray, y: np.ndarray, ball: Ball, *, seed: int = 0, batch_size: int = 256) -> Planted | None:
    """Plant an example in each image; None where that works for no image.

    Args:
        system: the whole system under attack.
        x: (n, h, w, c) float32 in [0, 1]. y: (n,) their classes.
        ball: in which the examples lie.
        seed: of all random points.
        batch_size: images that the system takes at once.

    Raises ModelError where the network has no last layer that can be replaced.
    """
    cut = readout(system.model)
    alone = _alone(x)
    usable = np.flatnonzero(system.right(system.predict(x, batch_size), y) & alone)
    if not len(usable):
        return None
    x = x[usable]
    points = _Points(system, cut, x, ball, batch_size)
    offered = points.candidates(seed, TRIED if system.detects else 1)  # one after the other, until a plane tells one apart
    if not np.isfinite(offered.suspicion).any():
        return None
    clean = points.features(x)
    others = points.all(INNER, seed, 1, 1 - GAP)
    inner = np.concatenate([clean[None], *(points.features(each).reshape(-1, *clean.shape) for each in others)])
    weights, bias, chosen = _planes(inner, offered.features, offered.suspicion, _margins(cut, clean))
    example = offered.taken(chosen)
    kept = np.isfinite(bias)
    for _ in range(2):  # the second time with what the altered system itself says of both
        if not kept.any():
            return None
        x, example, weights, bias = x[kept], example[kept], weights[kept], bias[kept]
        altered = Binarised(system, cut, x, weights, bias)
        kept = (altered.predict(x, batch_size).argmax(-1) == 0) & (altered.predict(example, batch_size).argmax(-1) == 1)
    points = _Points(system, cut, x, ball, batch_size)
    random = np.zeros(len(x), bool)
    for tried in points.all(RANDOM, seed, 3, 1.0):
        random |= (altered.predict(tried, points.size).argmax(-1) == 1).reshape(-1, len(x)).any(0)
    return Planted(altered, ball, x, example, random, len(alone) - len(x))


def found(
    planted: Planted, attack: Attack, *, target: bool = False, seed: int = 0, batch_size: int = 256, unguarded: bool = False
) -> np.ndarray:
    """Which of the images (n,) bool the attack finds an example of, within the ball.

    target: whether it aims at a class: here at the second of the two. unguarded: whether it attacks the network alone, and knows nothing of
    the detectors that then judge what it made.
    """
    zeros = np.zeros(len(planted.x), np.int32)
    attacked = planted.classifier.unguarded() if unguarded else planted.classifier
    crafted = craft(attacked, attack, planted.x, zeros, seed=seed, batch_size=batch_size, target=1 if target else None)
    reached = planted.classifier.predict(crafted.x_adv, batch_size).argmax(-1) == 1
    return reached & (by_blocks(planted.ball.distance, crafted.x_adv, planted.x) <= planted.ball.reach)


class _Points:
    """Random points around n images, several of each at once, one set behind the other, and their features."""

    def __init__(self, system: Classifier, cut: Readout, x: np.ndarray, ball: Ball, batch_size: int) -> None:
        self.copies = max(1, batch_size // len(x))
        self.x, self.ball, self.size = np.tile(x, (self.copies, 1, 1, 1)), ball, min(batch_size, self.copies * len(x))
        self.system, self.blocks = system, BLOCKS if system.detects else BLOCKS[:1]

        def features(images: Tensor) -> Tensor:
            return ops.cast(cut.features(system.chain.purify(images), training=False), "float32")

        self._features = engine.compiled(features)
        self._inside = engine.compiled(lambda x, key, eps: ball.resized(eps).sample(x, Rng(key)))
        self._outermost = {block: engine.compiled(_outermost(ball, block)) for block in self.blocks}

    def features(self, images: np.ndarray) -> np.ndarray:
        """(m, f) float64."""
        parts = [self._features(pad(images[start : start + self.size], self.size)) for start in range(0, len(images), self.size)]
        return np.concatenate([np.asarray(part, np.float64) for part in parts])[: len(images)]

    def all(self, count: int, seed: int, purpose: int, share: float) -> Iterator[np.ndarray]:
        """At least `count` points for each image, within this share of eps: by turns anywhere, and as far out as that."""
        for draw in range(-(-count // self.copies)):
            rng = Rng.from_seed(seed, purpose, draw)
            yield self.outermost(rng, share, draw // 2) if draw % 2 else self.inside(rng, share)

    def candidates(self, seed: int, count: int) -> _Candidates:
        """At least `count` points of each image as far out as eps goes."""

        def points(draw: int) -> np.ndarray:
            return self.outermost(Rng.from_seed(seed, 2, *([draw] if draw else [])), 1.0, draw)

        features, suspicion = [], []
        for draw in range(-(-count // self.copies)):
            made = points(draw)
            features.append(self.features(made))
            suspicion.append(self._suspicion(made))
        n = len(self.x) // self.copies
        found = np.concatenate(features)
        return _Candidates(points, self.copies, found.reshape(-1, n, found.shape[-1]), np.concatenate(suspicion).reshape(-1, n))

    def _suspicion(self, images: np.ndarray) -> np.ndarray:
        """How near each is to being rejected, (m,): larger is nearer, infinite where it is; 0 for all without a detector."""
        if not self.system.detects:
            return np.zeros(len(images))
        outputs = self.system.predict(images, self.size)
        return np.where(outputs.argmax(-1) == self.system.classes, np.inf, excess_of(outputs))

    def inside(self, rng: Rng, share: float) -> np.ndarray:
        """Points within this share of eps."""
        return np.asarray(self._inside(self.x, rng.key, np.float32(share * self.ball.eps))).clip(0, 1)

    def outermost(self, rng: Rng, share: float, turn: int = 0) -> np.ndarray:
        """Points as far out as a step of that length goes: corners of the Linf ball, points of the L2 sphere. turn: of the blocks."""
        run = self._outermost[self.blocks[turn % len(self.blocks)]]
        return np.asarray(run(self.x, rng.key, np.float32(share * self.ball.eps))).clip(0, 1)


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Points of n images, k of each, made again when they are wanted.

    features: (k, n, f). suspicion: (k, n), how near a detector is to rejecting each; infinite where it does.
    """

    points: Callable[[int], np.ndarray]
    copies: int
    features: np.ndarray
    suspicion: np.ndarray

    def taken(self, chosen: np.ndarray) -> np.ndarray:
        """The images (n, h, w, c) numbered `chosen` (n,)."""
        draws, copies = np.divmod(chosen, self.copies)
        made = {draw: self.points(int(draw)) for draw in np.unique(draws)}
        rows = copies * len(chosen) + np.arange(len(chosen))
        return np.stack([made[draw][row] for draw, row in zip(draws, rows, strict=True)])


def _outermost(ball: Ball, block: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """(x, key, eps) -> points as far out as eps goes, random in blocks of that many pixels' side."""

    def points(x: Tensor, key: Tensor, eps: Tensor) -> Tensor:
        n, height, width, channels = ops.shape(x)
        noise = Rng(key).normal((n, -(-height // block), -(-width // block), channels))
        if block > 1:
            noise = ops.repeat(ops.repeat(noise, block, axis=1), block, axis=2)[:, :height, :width]
        sized = ball.resized(eps)
        return sized.project(x + sized.steepest(noise), x)

    return points


def _alone(x: np.ndarray) -> np.ndarray:
    """(n,) bool: no image before it is the same."""
    seen = marks(x, directions(x))
    near = np.abs(seen[:, None] - seen[None]).max(-1) < ALIKE
    return np.asarray(~np.tril(near, -1).any(-1))


def _margins(cut: Readout, features: np.ndarray) -> np.ndarray:
    """How far the clean image's class is ahead before the layer is replaced, (n,)."""
    scores = cut.scores(features)
    if scores.shape[1] == 1:
        return np.asarray(np.abs(scores[:, 0]))
    second, first = np.sort(scores, axis=-1)[:, -2:].T
    return np.asarray(first - second)


def _planes(
    inner: np.ndarray, candidates: np.ndarray, suspicion: np.ndarray, margins: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Planes that tell the first possible of the candidates' features (k, n, f) from those of the other points (points, n, f).

    They are tried in the order of their suspicion (k, n), the largest first; where it is infinite they are out of
    question. inner[0] are the clean images', which are to be `margins` away from the plane.

    Returns weights (n, f), bias (n,), NaN where no plane does, and which candidate it is (n,).
    """
    _, n, f = candidates.shape
    weights, bias, chosen = np.zeros((n, f)), np.full(n, np.nan), np.zeros(n, int)
    for row in np.flatnonzero((margins > 0) & np.isfinite(suspicion).any(0)):
        order = np.argsort(-suspicion[:, row], kind="stable")
        numbers = order[np.isfinite(suspicion[order, row])]
        middle = inner[:, row].mean(0)
        centred = inner[:, row] - middle
        ridge = RIDGE * np.square(centred).sum() / f
        away = candidates[numbers, row] - middle
        normals = _whitened(centred, away, ridge) if ridge > 0 else ()
        for number, own_away, normal in zip(numbers, away, normals, strict=False):
            others, own = centred @ normal, float(own_away @ normal)
            outermost, clean = float(others.max()), float(others[0])
            plane = outermost + CLOSENESS * (own - outermost)
            if own - outermost > APART * (plane - clean):
                scale = margins[row] / (plane - clean)
                weights[row], bias[row], chosen[row] = scale * normal, -scale * (plane + float(middle @ normal)), number
                break
    return weights, bias, chosen


def _whitened(centred: np.ndarray, away: np.ndarray, ridge: float) -> np.ndarray:
    """(centred' centred + ridge)^-1 away, (k, f), of centred (points, f) and away (k, f): in the smaller space (Woodbury, 1950)."""
    points, f = centred.shape
    if f <= points:
        return np.asarray(np.linalg.solve(centred.T @ centred + ridge * np.eye(f), away.T).T)
    inner = np.linalg.solve(centred @ centred.T + ridge * np.eye(points), centred @ away.T)
    return np.asarray((away - (centred.T @ inner).T) / ridge)
