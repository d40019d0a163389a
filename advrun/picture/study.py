"""One picture, attacked: what each system says to it before and after, and how far it was changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from advrun import registry
from advrun.attack import bind
from advrun.craft import craft
from advrun.engine import to_unit
from advrun.errors import DataError
from advrun.geometry import GEOMETRIES, L2
from advrun.metrics import softmax
from advrun.picture.bench import Attacking, Bench
from advrun.report.layout import ball_label, eps_label, measured_in
from advrun.types import Cost, SystemName


@dataclass(frozen=True, eq=False)
class Subject:
    """The picture. x: (height, width, channels) uint8. label: its class. assumed: nobody said so; it is the model's own answer."""

    x: np.ndarray
    label: int
    title: str
    assumed: bool = False

    @property
    def image(self) -> np.ndarray:
        """(height, width, channels) float32 in [0, 1]."""
        return np.asarray(to_unit(self.x))


@dataclass(frozen=True, eq=False)
class Reply:
    """What a system says to an image. shares: (classes,) probabilities."""

    shares: np.ndarray

    @property
    def predicted(self) -> int:
        return int(self.shares.argmax())

    @property
    def confidence(self) -> float:
        return float(self.shares.max())

    def first(self, count: int, also: int) -> list[int]:
        """The most likely classes, and `also`, the true one, where it is not among them."""
        best = np.argsort(-self.shares, kind="stable")[:count].tolist()
        return best if also in best else [*best[: count - 1], also]


@dataclass(frozen=True, eq=False)
class Shot:
    """The picture after an attack on one system.

    x_adv: (height, width, channels) float32. left: why the picture was left as it was, "" where it was attacked.
    distance: of the change, in `norm` ("linf", "l2", ...). spent: what the attack asked of the system. seconds: of the attack.
    """

    attack: Attacking
    eps: float | None
    against: SystemName
    x_adv: np.ndarray
    left: str
    norm: str
    distance: float
    spent: Cost
    seconds: float

    @property
    def attacked(self) -> bool:
        return not self.left

    @property
    def label(self) -> str:
        """'pgd, L∞ 8/255'."""
        return ", ".join(filter(None, (self.attack.label, self.within)))

    @property
    def within(self) -> str:
        """'L∞ 8/255', the ball; "" without one."""
        norm = self.attack.entry.norm
        return ball_label(norm, self.eps) if norm and self.eps is not None else ""

    @property
    def far(self) -> str:
        """'L∞ 8/255', the distance."""
        exact = eps_label(self.norm, self.distance)
        return f"{measured_in(self.norm)} {exact if '/' in exact else f'{self.distance:.3g}'}"


def of_test(bench: Bench, number: int) -> Subject:
    """A test image of the data set. Raises DataError where there is none of this number."""
    count = len(bench.data.y_test)
    if not 0 <= number < count:
        raise DataError(f"test:{number}: {bench.data.name} has the test images 0 to {count - 1:,}")
    return Subject(np.asarray(bench.data.x_test[number : number + 1])[0], int(bench.data.y_test[number]), f"test image {number}")


def of_photo(bench: Bench, x: np.ndarray, title: str, label: int | None, model: str) -> Subject:
    """A photograph that fits already; without a label the answer of the undefended model is taken as true."""
    assumed = label is None
    label = reply(bench, bench.system(model), x).predicted if label is None else label
    return Subject(x, label, title, assumed)


def reply(bench: Bench, name: SystemName, x: np.ndarray) -> Reply:
    """What a system says to one image (height, width, channels), uint8 or float32."""
    return Reply(softmax(bench.classifier(name).predict(np.asarray(to_unit(x))[None]))[0])


def purified(bench: Bench, name: SystemName, x: np.ndarray) -> np.ndarray | None:
    """What the network behind a purifier is shown of one image; None without a purifier."""
    shown = bench.classifier(name).purify(np.asarray(to_unit(x))[None])
    return None if shown is None else np.asarray(shown[0])


def shoot(bench: Bench, attack: Attacking, eps: float | None, name: SystemName, subject: Subject) -> Shot:
    """Attack the picture against one system.

    Args:
        bench: where the system is from.
        attack: of the configuration, with its settings and its target there.
        eps: the radius of the ball, for attacks inside one; the largest of the configuration by default.
        name: the system, which the attacker knows.
        subject: the picture.

    Raises:
        ConfigError: for an eps that the ball cannot have. BudgetError: when the attack leaves its ball.
    """
    eps = (eps if eps is not None else attack.radii[-1]) if attack.is_bounded else None
    entry, classifier = attack.entry, bench.classifier(name)
    bound = bind(entry, eps, bench.classifier(name).draws.count)
    x, y = subject.x[None], np.array([subject.label], np.int32)
    left = ""
    if entry.source_class is not None and entry.source_class != subject.label:
        left = f"{attack.label} is about {bench.class_name(entry.source_class)} alone"
    elif reply(bench, name, subject.x).predicted != subject.label:
        left = f"{name.defense if name.defended else name.model} is wrong without an attack"
    elif isinstance(entry.target, int) and entry.target == subject.label:
        left = f"{bench.class_name(entry.target)} is what {attack.label} aims at"
    if left:
        return Shot(attack, eps, name, subject.image, left, entry.norm or "l2", 0.0, Cost(), 0.0)
    crafted = craft(classifier, bound, x, y, seed=bench.experiment.seeds[0], batch_size=1, target=entry.target, train=bench.pool)
    x_adv = np.asarray(crafted.x_adv)
    geometry: Any = GEOMETRIES.get(entry.norm, L2)
    distance = float(np.asarray(geometry.distance(x_adv, np.asarray(to_unit(x))))[0])
    spent = Cost(int(crafted.gradients[0]), int(crafted.queries[0]))
    return Shot(attack, eps, name, x_adv[0], "", entry.norm or "l2", distance, spent, crafted.seconds)


def most(attack: Attacking) -> int:
    """Gradients and queries that an attack asks for at most; 0 where that is not known."""
    cost = registry.get("attacks", attack.entry.name).cost(attack.entry.settings)
    return cost.gradients + cost.queries


def asked(bench: Bench, name: SystemName) -> int:
    """Gradients and queries that a running attack has asked of a system so far."""
    classifier = bench.loaded(name)
    return 0 if classifier is None else int(sum(count.sum() for count in classifier.counter.read().values()))


@dataclass(frozen=True, eq=False)
class Told:
    """One system before an attack (shot None) or after it. threat: none, static or adaptive. purified: what its purifier makes of it."""

    name: SystemName
    threat: str
    shot: Shot | None
    reply: Reply


def lines(bench: Bench, subject: Subject, model: str) -> Iterator[Told]:
    """Clean first, system by system; then each attack on each system: replayed (static) and crafted on it (adaptive), as `threats` says."""
    threats = {threat.name for threat in bench.experiment.threats}
    plain, defended = bench.system(model), bench.defenses(model)
    for name in (plain, *defended):
        yield Told(name, "none", None, reply(bench, name, subject.x))
    for attack in bench.attacks:
        shot = shoot(bench, attack, None, plain, subject)
        yield Told(plain, "adaptive", shot, reply(bench, plain, shot.x_adv))
        for name in defended:
            if "static" in threats:
                yield Told(name, "static", shot, reply(bench, name, shot.x_adv))
            if "adaptive" in threats:
                own = shoot(bench, attack, None, name, subject)
                yield Told(name, "adaptive", own, reply(bench, name, own.x_adv))


def count_lines(bench: Bench, model: str) -> int:
    """How many `lines` there are."""
    threats, defended = {threat.name for threat in bench.experiment.threats}, len(bench.defenses(model))
    return 1 + defended + len(bench.attacks) * (1 + defended * len(threats & {"static", "adaptive"}))
