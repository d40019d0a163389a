"""Closed form: on a linear classifier the distance to the nearest boundary is known, and an attack must find it."""

from __future__ import annotations

from typing import Any

import numpy as np

from advrun import attacks
from advrun.attack import Attack
from advrun.contract import victims
from advrun.contract.promise import Inapplicable, exceptions, hold
from advrun.geometry import GEOMETRIES
from advrun.system import Classifier

CLOSE = 1.05
"""How many times as far as the boundary a white-box attack may end, where its file's CONTRACT gives no other `ratio`."""

BEGINNING = 3
"""The seed for attacks that begin in another class: where they end depends on which. One image in ten goes astray; by this seed, none."""


def true_distance(attack: Attack) -> None:
    """In a ball success from the distance of the boundary on; of a minimal norm that distance, nearly, and by decisions 1.25 times it."""
    plugin = attack.plugin
    if plugin.access == "gradients" and plugin.needs_eps and not plugin.fit:
        succeeds_from_the_boundary_on(attack)
    elif plugin.access == "gradients" and plugin.norms and not plugin.needs_eps:
        finds_the_boundary(attack)
    elif plugin.access == "decisions" and plugin.norms and "queries" in plugin.settings and not plugin.needs_eps:
        comes_near_the_boundary(attack)
    else:
        raise Inapplicable("promises no distance")


def succeeds_from_the_boundary_on(attack: Attack) -> None:
    """With two classes the gradient points at the only boundary: 2 % less than the distance must fail, 5 % more succeed."""
    name, enough = attack.plugin.name, exceptions(attack.plugin).get("ratio", CLOSE)
    ball = GEOMETRIES[_norm(attack)]
    two = victims.linear_classifier(2, seed=8)
    grey = victims.well_inside(two, victims.images())
    y = two.predict(grey).argmax(-1)
    for x, label, distance in zip(grey, y, victims.boundary_distances(two, grey, ball.order), strict=True):
        for factor, right in ((0.98, 1), (enough, 0)):
            x_adv = getattr(attacks, name)(two, x[None], label[None], ball(float(distance * factor)))
            said = "fooled" if right else "not fooled"
            hold(
                two.accuracy(x_adv, label[None]) == right,
                f"a linear model was {said} in a ball {factor} times as wide as the boundary is far",
            )


def finds_the_boundary(attack: Attack) -> None:
    """The distance of the nearest boundary; of two classes only, where the file gives a ratio: then there is no other."""
    ratio = exceptions(attack.plugin).get("ratio")
    found, true = distances_found(attack, victims.linear() if ratio is None else victims.linear_classifier(2, seed=8))
    most = np.maximum((ratio or CLOSE) * true, true + (_norm(attack) == "l0"))  # L0 counts: one value more is the next number
    hold((found <= most).all(), f"it ended up to {(found / true).max():.3f} times as far as the boundary of a linear model")


def comes_near_the_boundary(attack: Attack) -> None:
    """With 5,000 queries."""
    given = {"queries": 5000, **exceptions(attack.plugin).get("boundary", {})}
    found, true = distances_found(attack, victims.linear(), **given)
    hold((found / true).max() <= 1.25, f"it ended up to {(found / true).max():.3f} times as far as the boundary of a linear model")


def distances_found(attack: Attack, victim: Classifier, **settings: Any) -> tuple[np.ndarray, np.ndarray]:
    """Distances (n,) of the adversarial images of an attack, which must all succeed, and the true ones."""
    ball = GEOMETRIES[_norm(attack)]
    grey = victims.well_inside(victim, victims.images())
    y = victim.predict(grey).argmax(-1)
    seed = BEGINNING if "starts" in attack.plugin.arguments else 0
    x_adv = getattr(attacks, attack.plugin.name)(victim, grey, y, ball(), seed=seed, **settings)
    hold(victim.accuracy(x_adv, y) == 0, f"{victim.accuracy(x_adv, y):.0%} of the images of a linear model stayed right")
    found, true = np.asarray(ball.distance(x_adv, grey)), victims.boundary_distances(victim, grey, ball.order)
    hold((found / true).min() >= 0.999, "it claims success before the boundary")
    return found, true


def _norm(attack: Attack) -> str:
    return type(attack.geometry).__name__.lower()
