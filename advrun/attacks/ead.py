"""Elastic-net attack, EAD (Chen, Sharma, Zhang, Yi and Hsieh, 2018, AAAI, arXiv:1709.04114, algorithm 1)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from advrun.attacks._best import Best
from advrun.attacks._search import Progress, Search, search_c
from advrun.engine import ops, repeat_undecided, select
from advrun.geometry import L1, l2_norm, per_image
from advrun.losses import margin
from advrun.system import Gradients
from advrun.types import Cost, Count, Labels, NonNegative, Positive, Targets, Tensor

CONTRACT = {"ratio": 1.4}  # minimises the elastic net, at the paper's beta far from L1 alone

PRESETS = {"fast": {"search_steps": 9, "steps": 100}, "paper": {"search_steps": 9, "steps": 1000}}


class Descent(NamedTuple):
    """For each image: itself, its label, its c, x^(k), the slack variable y^(k), its success, the closest, whether the loss falls."""

    x: Tensor
    y: Tensor
    c: Tensor
    x_adv: Tensor
    slack: Tensor
    success: Tensor
    best: Best
    progress: Progress


def ead(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    norm: L1,
    *,
    search_steps: Count = 9,
    steps: Count = 100,
    step_size: Positive = 0.01,
    beta: NonNegative = 1e-3,
    initial_c: Positive = 1e-3,
    confidence: NonNegative = 0.0,
    rule: Literal["l1", "en"] = "l1",
    abort_early: bool = False,
) -> Tensor:
    """EAD: minimise c f(x') + beta |x' - x|_1 + |x' - x|_2^2 by FISTA: x^(k+1) = S_beta(y^(k) - alpha_k grad g(y^(k))).

    S_beta shrinks every change by beta, to zero where it is smaller, and clips to the box (equation 5); y^(k+1) = x^(k+1) + k / (k + 3)
    (x^(k+1) - x^(k)); alpha_k falls as sqrt(1 - k / K). f is Carlini and Wagner's, c is searched for each image as there. Looked at are
    the y^(k), clipped, where the gradient is taken anyway, and the last x^(k); the authors look at every x^(k), a forward pass more
    (for early abort some are looked at, for their loss alone). What is never fooled comes back clean.

    Args:
        search_steps: binary search steps over c.
        steps: K, iterations of each search step.
        step_size: alpha_0.
        beta: weight of the L1 norm.
        initial_c: first c of the search.
        confidence: kappa, by how much the wrong class must lead, in logits.
        rule: which success is kept: the smallest in L1, or in the elastic net beta |.|_1 + |.|_2^2.
        abort_early: end a search step when two tenths of its iterations no longer lower the image's loss at x^(k); the authors' code
            waits one.
    """

    def sizes(x_adv: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """By the decision rule, and in the elastic net."""
        length = norm.distance(x_adv, x)
        net = beta * length + l2_norm(x_adv - x) ** 2
        return length if rule == "l1" else net, net

    def minimise(_: Tensor, search: Search, best: Best) -> tuple[Tensor, Best]:
        def descend(i: Tensor, rows: Tensor, now: Descent) -> Descent:
            view, going = model.part(rows), ops.logical_not(now.progress.stalled)
            lead, _, gradient = view.value_and_gradient(margin, now.slack, now.y, asked=going)
            push = ops.where(lead < confidence, now.c, 0.0)
            slope = 2 * (now.slack - now.x) - per_image(push, now.x) * gradient
            k = ops.cast(i, "float32")
            x_adv = shrunk(now.slack - step_size * ops.sqrt(1 - k / steps) * slope, now.x, beta)
            # One gradient a step: the success of y^(k) is known, that of x^(k) is not.
            success = ops.logical_and(going, lead > confidence)
            best = now.best.closer(now.slack, success, sizes(now.slack, now.x)[0])
            ahead = ops.clip(x_adv + k / (k + 3) * (x_adv - now.x_adv), 0.0, 1.0)

            def loss() -> Tensor:
                lead = view.lead(view.logits(x_adv, asked=going), now.y)
                return sizes(x_adv, now.x)[1] + now.c * ops.maximum(confidence - lead, 0.0)

            progress = now.progress.check(i, steps, loss) if abort_early else now.progress
            x_adv, ahead = (select(going, new, old) for new, old in ((x_adv, now.x_adv), (ahead, now.slack)))
            return Descent(now.x, now.y, now.c, x_adv, ahead, ops.logical_or(now.success, success), best, progress)

        start = Descent(x, y, search.c, x, x, ops.zeros((x.shape[0],), dtype="bool"), best, Progress.start(x.shape[0]))
        end = repeat_undecided(descend, steps, start, decided=(lambda now: now.progress.stalled) if abort_early else None)
        success = model.lead(model.logits(end.x_adv), y) > confidence
        return ops.logical_or(end.success, success), end.best.closer(end.x_adv, success, sizes(end.x_adv, x)[0])

    return search_c(minimise, x, search_steps, initial_c)


def cost(search_steps: int, steps: int, abort_early: bool) -> Cost:
    """One gradient a step, and a last look at each search step's end; about ten looks more to see whether to abort."""
    checks = -(-steps // max(steps // 10, 1)) if abort_early else 0
    return Cost(gradients=search_steps * steps, queries=search_steps * (1 + checks))


def shrunk(z: Tensor, x: Tensor, beta: float) -> Tensor:
    """S_beta (equation 5)."""
    change = z - x
    return ops.clip(x + ops.sign(change) * ops.maximum(ops.abs(change) - beta, 0.0), 0.0, 1.0)
