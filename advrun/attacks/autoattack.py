"""AutoAttack (Croce and Hein, 2020, ICML, arXiv:2003.01690, section 5; versions plus and rand: the authors' repository).

In L1: Croce and Hein, 2021, ICML, arXiv:2103.01208.
"""

from __future__ import annotations

from typing import Literal

from advrun.geometry import L1, L2, Linf
from advrun.types import Cascade, Cost, Stage

CE, DLR, ALL_CLASSES = {"loss": "ce"}, {"loss": "dlr"}, {"targets": 1000}
APGD_T = Stage("apgd", {"loss": "targeted_dlr", "targets": 9})
FAB_T = Stage("fab", {"one_by_one": True, "targets": 9})
SQUARE = Stage("square", {"queries": 5000, "rescale": False})
VERSIONS: dict[str, Cascade] = {
    "standard": (Stage("apgd", CE), APGD_T, FAB_T, SQUARE),
    "plus": (
        Stage("apgd", {**CE, "restarts": 5}),
        Stage("apgd", {**DLR, "restarts": 5}),
        Stage("fab", {**ALL_CLASSES, "restarts": 5}),
        SQUARE,
        APGD_T,
        FAB_T,
    ),
    "rand": tuple(Stage("apgd", {**loss, "eot": 20, "early_stop": False}) for loss in (CE, DLR)),
}
STANDARD_L1: Cascade = (Stage("apgd_l1", {**CE, "restarts": 5}), Stage("apgd_l1", {"loss": "targeted_dlr", "targets": 5}), FAB_T, SQUARE)


def autoattack(ball: Linf | L2 | L1, *, version: Literal["standard", "plus", "rand"] = "standard") -> Cascade:
    """AutoAttack: APGD-CE, targeted APGD-DLR and FAB-T towards 9 classes, and Square with 5,000 queries, each on what survived the last.

    Every stage has the authors' settings: 100 steps, one restart but for `plus`, Square's schedule not rescaled; in L1, l1-APGD with
    5 restarts, then towards 5 classes, begun in larger balls (`plus` and `rand`, not made for L1, leave these out). An image counts as
    robust when no stage moves it out of its class inside the ball. It stands for a deterministic, differentiable classifier; `rand`
    averages 20 passes for random ones. Other attacks in a row, or with other budgets, are not AutoAttack.

    Args:
        version: standard; plus: also untargeted APGD-DLR and FAB, with 5 restarts; rand: APGD-CE and APGD-DLR, averaging 20 gradients.
    """
    if not isinstance(ball, L1):
        return VERSIONS[version]
    if version == "standard":
        return STANDARD_L1
    stages = VERSIONS[version]
    return tuple(Stage("apgd_l1", {**stage.settings, "larger_first": False}) if stage.attack == "apgd" else stage for stage in stages)


def cost(version: str) -> Cost:
    """What an image costs that survives every stage; in L1 the same as in the other balls."""
    from advrun import registry

    costs = []
    for stage in VERSIONS[version]:
        plugin = registry.get("attacks", stage.attack)
        costs.append(plugin.cost({name: setting.default for name, setting in plugin.settings.items()} | dict(stage.settings)))
    return Cost(gradients=sum(each.gradients for each in costs), queries=sum(each.queries for each in costs))
