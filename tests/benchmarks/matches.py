"""Who meets whom: every attack beside the same attack of its peers, at the same budget.

A peer is a function of a victim that returns adversarial images (n, h, w, c). Nothing here measures anything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from inspect import signature
from types import SimpleNamespace
from typing import Any

import numpy as np

from advrun import L0, L1, L2, Linf
from advrun.geometry import GEOMETRIES, Ball

from .victims import Victim

Peer = Callable[[Victim], np.ndarray]


@dataclass(frozen=True)
class Match:
    """One attack with its settings against peers with the same budget.

    attack: of advrun. ball: with eps, without for minimal-norm attacks, None for attacks without a norm. peers: library ->
    peer. images: how many of the victim's. seeds: how many runs are averaged, where chance matters. target: of the attack, where its
    peers have no untargeted form. note: why a peer may come out ahead.
    """

    attack: str
    ball: Ball | None
    budget: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    peers: Mapping[str, Peer] = field(default_factory=dict)
    images: int = 256
    seeds: int = 1
    target: str | None = None
    note: str = ""

    @property
    def key(self) -> str:
        return f"{self.attack} {self.ball or ''} {self.budget} {self.images}"


def foolbox(name: str, eps: float | None = None, *, distance: str = "", **settings: Any) -> Peer:
    """A Foolbox attack; what it did not fool comes back clean, and so do the wholly black images that it calls adversarial then.

    distance: what its attacks that have several are to make small, such as "l2".
    """

    def run(victim: Victim) -> np.ndarray:
        import foolbox as library

        x, y = victim.tensors
        chosen = {**settings, "distance": getattr(library.distances, distance)} if distance else settings
        raw, clipped, success = getattr(library.attacks, name)(**chosen)(victim.foolbox, x, y, epsilons=eps)
        found = np.asarray(raw if eps is None else clipped)
        fooled = np.asarray(success) & (np.ptp(found, axis=(1, 2, 3)) > 0)
        return found if eps is not None else np.where(fooled[:, None, None, None], found, victim.x)

    return run


def art(name: str, *, toward_second: bool = False, probabilities: bool = False, **settings: Any) -> Peer:
    """An attack of ART.

    toward_second: to the second likeliest class, where there is no untargeted form. probabilities: of a model that ends in softmax.
    """

    def run(victim: Victim) -> np.ndarray:
        import art.attacks.evasion as library

        kind = getattr(library, name)
        if "verbose" in kind.attack_params:
            settings.setdefault("verbose", False)
        if not hasattr(np, "mat"):
            np.mat = np.asmatrix  # GeoDA still calls it by the name that NumPy 2 took away
        logits = victim.classifier.predict(victim.x)
        logits[np.arange(len(logits)), victim.y] = -np.inf
        labels = np.eye(logits.shape[1], dtype=np.float32)[logits.argmax(-1) if toward_second else victim.y]
        return np.asarray(kind(victim.art_softmax if probabilities else victim.art, **settings).generate(victim.x.copy(), labels))

    return run


def cleverhans(name: str, *arguments: Any, one_by_one: bool = False, **settings: Any) -> Peer:
    """A TensorFlow attack of CleverHans; NORM arguments are np.inf or 2. one_by_one: it takes one image and label at a time."""

    def run(victim: Victim) -> np.ndarray:
        from importlib import import_module

        attack = getattr(import_module(f"cleverhans.tf2.attacks.{name}"), name)
        x, y = victim.tensors
        box = {"clip_min": 0.0, "clip_max": 1.0}
        if one_by_one:
            each = [attack(victim.model, x[i : i + 1], y[i : i + 1], *arguments, **box, **settings) for i in range(len(x))]
            return np.concatenate(each)
        return np.asarray(attack(victim.model, x, *arguments, y=y, **box, **settings))

    return run


def torchattacks(name: str, **settings: Any) -> Peer:
    """An attack of torchattacks. Settings that depend on the victim are functions of it."""

    def run(victim: Victim) -> np.ndarray:
        import torch
        import torchattacks as library

        kind = getattr(library, name)
        chosen = {key: value(victim) if callable(value) else value for key, value in settings.items()}
        if "seed" in signature(kind).parameters:  # 0 unless given: every run would be the same
            chosen["seed"] = torch.initial_seed()
        attack = kind(victim.torch, **chosen)
        return nhwc(attack(victim.torch_x, victim.torch_y))

    return run


def adv_lib(name: str, **settings: Any) -> Peer:
    """An attack of the adversarial library."""

    def run(victim: Victim) -> np.ndarray:
        return nhwc(getattr(attacks_of_adv_lib(), name)(victim.torch, victim.torch_x, victim.torch_y, **settings))

    return run


@cache
def attacks_of_adv_lib() -> Any:
    """Its module of attacks, which imports torchvision for a metric and visdom for plots: neither is needed here, nor installed."""
    absent: dict[str, Any] = {"torchvision": SimpleNamespace(models=None), "visdom": SimpleNamespace()}
    sys.modules.update(absent)
    try:
        import adv_lib.attacks as library
    finally:
        for name in absent:
            del sys.modules[name]  # else PyTorch takes them for the real ones
    return library


def autoattack(norm: str, eps: float, attacks: tuple[str, ...] = ()) -> Peer:
    """AutoAttack by its authors (a packaged form of their repository): 'standard', or some of its attacks."""

    def run(victim: Victim) -> np.ndarray:
        import torch
        from pyautoattack import AutoAttack

        version: dict[str, Any] = {"version": "custom", "attacks": list(attacks)} if attacks else {"version": "standard"}
        adversary = AutoAttack(victim.torch, norm=norm, eps=eps, device="cpu", seed=torch.initial_seed(), **version)
        adversary.verbose = False
        for stage in (adversary.apgd_targeted, adversary.fab):
            stage.n_target_classes = min(stage.n_target_classes, victim.classifier.classes - 1)
        if attacks:
            adversary.apgd.n_restarts = 1
            adversary.apgd.use_largereps = norm == "L1"
        return nhwc(adversary.run_standard_evaluation(victim.torch_x, victim.torch_y, batch_size=len(victim.x))[0])

    return run


def fab(norm: str, targets: int, steps: int = 100) -> Peer:
    """FAB-T by the authors of AutoAttack, towards every target: its own loop leaves an image at the first target reached inside eps."""

    def run(victim: Victim) -> np.ndarray:
        from pyautoattack.fab_pt import FABAttack_PT

        settings = {"n_restarts": 1, "n_iter": steps, "eps": 100.0, "seed": 0, "norm": norm, "verbose": False, "device": "cpu"}
        others = min(targets, victim.classifier.classes - 1)
        attack = FABAttack_PT(victim.torch, targeted=True, n_target_classes=others, **settings)
        best, closest = victim.x, np.full(len(victim.x), np.inf)
        for target in range(2, others + 2):
            attack.target_class = target
            found = nhwc(attack.attack_single_run(victim.torch_x, victim.torch_y, use_rand_start=False, is_targeted=True))
            distance = np.asarray(GEOMETRIES[norm.lower()].distance(found, victim.x))
            closer = (victim.classifier.predict(found.clip(0, 1)).argmax(-1) != victim.y) & (distance < closest)
            best, closest = np.where(closer[:, None, None, None], found, best), np.where(closer, distance, closest)
        return best

    return run


def foolbox_spatial() -> Peer:
    """Foolbox's grid of rotations and translations; it has no distance, and so a call of its own."""

    def run(victim: Victim) -> np.ndarray:
        import foolbox as library

        x, y = victim.tensors
        far = 3 / 32 * min(victim.x.shape[1:3])
        attack = library.attacks.SpatialAttack(max_translation=far, max_rotation=30, num_translations=5, num_rotations=31)
        return np.asarray(attack(victim.foolbox, x, y)[0])

    return run


def nhwc(images: Any) -> np.ndarray:
    """(n, c, h, w) of PyTorch as (n, h, w, c)."""
    return images.detach().numpy().transpose(0, 2, 3, 1)


EPS, EPS2, EPS1 = 8 / 255, 0.5, 8.0
ITERATED = {"eps": EPS, "eps_step": EPS / 10, "max_iter": 40, "batch_size": 256}

MATCHES = [
    Match(
        "fgsm",
        Linf(EPS),
        "1 step",
        peers={
            "ART": art("FastGradientMethod", eps=EPS, batch_size=256),
            "Foolbox": foolbox("LinfFastGradientAttack", EPS),
            "CleverHans": cleverhans("fast_gradient_method", EPS, np.inf),
            "torchattacks": torchattacks("FGSM", eps=EPS),
        },
    ),
    Match(
        "fgsm",
        L2(EPS2),
        "1 step",
        peers={
            "ART": art("FastGradientMethod", norm=2, eps=EPS2, batch_size=256),
            "Foolbox": foolbox("L2FastGradientAttack", EPS2),
            "CleverHans": cleverhans("fast_gradient_method", EPS2, 2),
        },
    ),
    Match(
        "bim",
        Linf(EPS),
        "10 steps of eps/8",
        peers={
            "Foolbox": foolbox("LinfBasicIterativeAttack", EPS, rel_stepsize=0.125, steps=10, random_start=False),
            "ART": art("BasicIterativeMethod", eps=EPS, eps_step=EPS / 8, max_iter=10, batch_size=256),
            "torchattacks": torchattacks("BIM", eps=EPS, alpha=EPS / 8, steps=10),
            "CleverHans": cleverhans("basic_iterative_method", EPS, EPS / 8, 10, np.inf, sanity_checks=False),
        },
    ),
    Match(
        "pgd",
        Linf(EPS),
        "40 steps of eps/10",
        seeds=10,
        peers={
            "ART": art("ProjectedGradientDescentTensorFlowV2", num_random_init=1, **ITERATED),
            "Foolbox": foolbox("LinfPGD", EPS, rel_stepsize=0.1, steps=40),
            "CleverHans": cleverhans("projected_gradient_descent", EPS, EPS / 10, 40, np.inf, rand_init=True),
            "torchattacks": torchattacks("PGD", eps=EPS, alpha=EPS / 10, steps=40),
            "adv-lib": adv_lib("pgd_linf", ε=EPS, steps=40, absolute_step_size=EPS / 10, relative_step_size=0.1, random_init=True),
        },
    ),
    Match(
        "pgd",
        Linf(EPS),
        "40 steps of eps/10, early stop",
        seeds=10,
        settings={"early_stop": True},
        peers={
            "Foolbox": foolbox("LinfPGD", EPS, rel_stepsize=0.1, steps=40),
            "torchattacks": torchattacks("PGD", eps=EPS, alpha=EPS / 10, steps=40),
        },
    ),
    Match(
        "pgd",
        L2(EPS2),
        "40 steps of eps/10",
        seeds=10,
        peers={
            "ART": art(
                "ProjectedGradientDescentTensorFlowV2", norm=2, num_random_init=1, **{**ITERATED, "eps": EPS2, "eps_step": EPS2 / 10}
            ),
            "Foolbox": foolbox("L2PGD", EPS2, rel_stepsize=0.1, steps=40),
            "CleverHans": cleverhans("projected_gradient_descent", EPS2, EPS2 / 10, 40, 2, rand_init=False),
            "torchattacks": torchattacks("PGDL2", eps=EPS2, alpha=EPS2 / 10, steps=40),
        },
    ),
    Match(
        "mifgsm",
        Linf(EPS),
        "10 steps of eps/10",
        peers={
            "Foolbox": foolbox("LinfMomentumIterativeFastGradientMethod", EPS, rel_stepsize=0.1, steps=10, random_start=False),
            "CleverHans": cleverhans("momentum_iterative_method", EPS, EPS / 10, 10),
            "torchattacks": torchattacks("MIFGSM", eps=EPS, alpha=EPS / 10, steps=10, decay=1.0),
        },
    ),
    Match(
        "cw",
        L2(),
        "5 searches x 100 steps",
        peers={
            "Foolbox": foolbox("L2CarliniWagnerAttack", binary_search_steps=5, steps=100, stepsize=0.01),
            "adv-lib": adv_lib("carlini_wagner_l2", binary_search_steps=5, max_iterations=100, learning_rate=0.01),
            "torchattacks": torchattacks("CW", c=1, steps=500, lr=0.01),
        },
        note="torchattacks takes c = 1 without a search, and leaves the images alone that need more",
    ),
    Match(
        "cw",
        L2(),
        "5 searches x 100 steps",
        images=8,
        peers={"ART": art("CarliniL2Method", binary_search_steps=5, max_iter=100, learning_rate=0.01, batch_size=8)},
    ),
    *(
        Match(
            name,
            Linf(EPS),
            "10 steps of eps/10",
            seeds=seeds,
            settings={"steps": 10, "step_size": 0.1},
            peers={"torchattacks": torchattacks(theirs, eps=EPS, alpha=EPS / 10, steps=10, **settings)},
        )
        for name, theirs, seeds, settings in (
            ("nifgsm", "NIFGSM", 1, {"decay": 1.0}),
            ("difgsm", "DIFGSM", 5, {"decay": 1.0}),
            ("sifgsm", "SINIFGSM", 1, {"decay": 1.0, "m": 5}),
            ("tifgsm", "TIFGSM", 5, {"decay": 1.0, "diversity_prob": 0.0}),
            ("vmifgsm", "VMIFGSM", 5, {"decay": 1.0, "N": 20, "beta": 1.5}),
        )
    ),
    Match(
        "apgd",
        Linf(EPS),
        "cross-entropy, 100 steps",
        peers={
            "AutoAttack": autoattack("Linf", EPS, ("apgd-ce",)),
            "torchattacks": torchattacks("APGD", norm="Linf", eps=EPS, steps=100),
            "adv-lib": adv_lib("apgd", eps=EPS, norm=float("inf"), n_iter=100, loss_function="ce"),
            "ART": art("AutoProjectedGradientDescent", eps=EPS, eps_step=2 * EPS, max_iter=100, nb_random_init=1, batch_size=256),
        },
    ),
    Match(
        "apgd",
        L2(EPS2),
        "cross-entropy, 100 steps",
        peers={
            "AutoAttack": autoattack("L2", EPS2, ("apgd-ce",)),
            "torchattacks": torchattacks("APGD", norm="L2", eps=EPS2, steps=100),
            "adv-lib": adv_lib("apgd", eps=EPS2, norm=2, n_iter=100, loss_function="ce"),
        },
    ),
    Match(
        "apgd",
        Linf(EPS),
        "DLR, 100 steps",
        settings={"loss": "dlr"},
        peers={"AutoAttack": autoattack("Linf", EPS, ("apgd-dlr",)), "adv-lib": adv_lib("apgd", eps=EPS, norm=float("inf"), n_iter=100)},
    ),
    Match(
        "apgd",
        Linf(EPS),
        "targeted DLR, 9 x 100 steps",
        settings={"loss": "targeted_dlr"},
        peers={
            "AutoAttack": autoattack("Linf", EPS, ("apgd-t",)),
            "torchattacks": torchattacks("APGDT", eps=EPS, steps=100, n_classes=lambda victim: min(10, victim.classifier.classes)),
        },
    ),
    Match(
        "apgd_l1",
        L1(EPS1),
        "cross-entropy, 100 steps",
        seeds=6,
        peers={
            "AutoAttack": autoattack("L1", EPS1, ("apgd-ce",)),
            "adv-lib": adv_lib("apgd", eps=EPS1, norm=1, n_iter=100, loss_function="ce", use_large_reps=True),
        },
    ),
    Match(
        "fab",
        Linf(),
        "9 targets x 100 steps",
        settings={"one_by_one": True},
        peers={"AutoAttack": fab("Linf", 9)},
    ),
    Match("fab", L2(), "9 targets x 100 steps", settings={"one_by_one": True}, peers={"AutoAttack": fab("L2", 9)}),
    Match(
        "fab",
        L2(),
        "all classes, 20 steps",
        settings={"targets": 1000, "steps": 20},
        images=32,
        peers={"adv-lib": adv_lib("fab", norm=2, n_iter=20)},
    ),
    Match(
        "square",
        Linf(EPS),
        "1,000 queries",
        settings={"queries": 1000},
        seeds=6,
        peers={
            "ART": art("SquareAttack", eps=EPS, max_iter=1000, batch_size=256),
            "torchattacks": torchattacks("Square", norm="Linf", eps=EPS, n_queries=1000),
        },
    ),
    Match(
        "square",
        L2(EPS2),
        "1,000 queries",
        settings={"queries": 1000},
        seeds=3,
        note="torchattacks gives each channel of a window the mass of all, as AutoAttack's first code did, where algorithm 3 keeps each "
        "channel's own; so ours would leave 1.2 points less on the cnn, as much on the L-net, and 3.5 more there after 5,000 queries",
        peers={
            "ART": art("SquareAttack", norm=2, eps=EPS2, max_iter=1000, batch_size=256),
            "torchattacks": torchattacks("Square", norm="L2", eps=EPS2, n_queries=1000),
        },
    ),
    *(
        Match(
            "square",
            ball,
            "5,000 queries, unscaled",
            seeds=seeds,
            settings={"rescale": False},
            note=note,
            peers={"AutoAttack": autoattack(ball.name, ball.eps, ("square",))},
        )
        for ball, seeds, note in (
            (Linf(EPS), 3, ""),
            (L2(EPS2), 1, "one run each; on the L-net ours is ahead"),
            (L1(EPS1), 6, "for the same random numbers both try the same images"),
        )
    ),
    *(
        Match("autoattack", ball, "standard", peers={"AutoAttack": autoattack(ball.name, ball.eps)})
        for ball in (Linf(EPS), L2(EPS2), L1(EPS1))
    ),
    Match(
        "deepfool",
        L2(),
        "50 steps, 10 classes",
        peers={
            "Foolbox": foolbox("L2DeepFoolAttack", steps=50, candidates=10),
            "adv-lib": adv_lib("df", steps=50),
            "torchattacks": torchattacks("DeepFool", steps=50),
        },
    ),
    Match("deepfool", L2(), "50 steps, 10 classes", images=32, peers={"ART": art("DeepFool", max_iter=50, nb_grads=10, batch_size=32)}),
    Match(
        "deepfool",
        Linf(),
        "50 steps, 10 classes",
        peers={"Foolbox": foolbox("LinfDeepFoolAttack", steps=50, candidates=10), "adv-lib": adv_lib("df", steps=50, norm=float("inf"))},
    ),
    Match(
        "ddn",
        L2(),
        "100 steps",
        settings={"steps": 100},
        peers={"Foolbox": foolbox("DDNAttack", steps=100), "adv-lib": adv_lib("ddn", steps=100, levels=None)},
    ),
    *(
        Match(
            "fmn",
            norm(),
            "100 steps",
            settings={"steps": 100},
            peers={
                "Foolbox": foolbox(f"{theirs}FMNAttack", steps=100),
                "adv-lib": adv_lib("fmn", norm=order, steps=100),
            },
        )
        for norm, theirs, order in ((L0, "L0", 0), (L1, "L1", 1), (L2, "L2", 2), (Linf, "LInf", float("inf")))
    ),
    *(
        Match(
            "sigma_zero",
            L0(),
            f"{steps:,} steps",
            settings={"steps": steps},
            peers={"adv-lib": adv_lib("sigma_zero", num_steps=steps)},
        )
        for steps in (100, 1000)
    ),
    Match(
        "ead",
        L1(),
        "9 searches x 100 steps, beta 1e-3",
        settings={"search_steps": 9, "steps": 100, "beta": 1e-3},
        peers={
            "Foolbox": foolbox("EADAttack", binary_search_steps=9, steps=100, regularization=1e-3, decision_rule="L1", abort_early=False)
        },
    ),
    Match(
        "ead",
        L1(),
        "9 searches x 100 steps, beta 1e-3, abort early",
        settings={"search_steps": 9, "steps": 100, "beta": 1e-3, "abort_early": True},
        note="torchattacks begins each search step where the last one ended, not at x (on the cnn ours goes 11.28 without early abort, in"
        " the time that theirs takes with it); Foolbox looks at x^(k) itself in every step, with a forward pass more",
        peers={
            "Foolbox": foolbox("EADAttack", binary_search_steps=9, steps=100, regularization=1e-3, decision_rule="L1"),
            "torchattacks": torchattacks("EADL1", lr=0.01, binary_search_steps=9, max_iterations=100, beta=1e-3),
        },
    ),
    Match("newtonfool", L2(), "100 steps, eta 0.01", peers={"Foolbox": foolbox("NewtonFoolAttack", steps=100, stepsize=0.01)}),
    Match("newtonfool", L2(), "100 steps, eta 0.01", images=32, peers={"ART": art("NewtonFool", max_iter=100, eta=0.01, batch_size=32)}),
    Match(
        "ead",
        L1(),
        "9 searches x 100 steps, beta 1e-3",
        settings={"search_steps": 9, "steps": 100, "beta": 1e-3},
        images=8,
        note="ART drops the pull of the L2 term, too, where an image succeeds; that goes less far in L1, but is not the paper's objective"
        " (within it a larger beta does so: ours comes to 8.31 with 1e-2, 7.81 with 3e-2 on the L-net)",
        peers={
            "ART": art("ElasticNet", binary_search_steps=9, max_iter=100, learning_rate=0.01, beta=1e-3, decision_rule="L1", batch_size=8)
        },
    ),
    Match(
        "jsma",
        L0(),
        "theta 1, increases, to the second class",
        settings={"direction": "increase", "steps": 1536},
        images=24,
        target="second",
        note="of one image no value's derivative points to the target any more; there ART goes on to white, at a mean distance of 709",
        peers={"ART": art("SaliencyMapMethod", toward_second=True, theta=1.0, gamma=1.0, batch_size=24)},
    ),
    Match(
        "cw_linf",
        Linf(),
        "1,000 steps; theirs 100 for each c and tau",
        images=16,
        peers={"adv-lib": adv_lib("carlini_wagner_linf", max_iterations=100)},
    ),
    *(
        Match(
            "brendel_bethge",
            norm(),
            "200 steps",
            images=16,
            seeds=2,
            note="a walk ends where its start leads it: from others the mean over these images differs by several percent",
            peers={"Foolbox": foolbox(f"{theirs}BrendelBethgeAttack", steps=200)},
        )
        for norm, theirs in ((L0, "L0"), (L1, "L1"), (L2, "L2"), (Linf, "Linfinity"))
    ),
    Match("boundary", L2(), "5,000 queries", {"queries": 5000}, images=32, peers={"Foolbox": foolbox("BoundaryAttack", steps=5000)}),
    Match("hopskipjump", L2(), "5,000 queries", images=32, peers={"Foolbox": foolbox("HopSkipJumpAttack", steps=16)}),
    Match("hopskipjump", Linf(), "5,000 queries", images=32, peers={"Foolbox": foolbox("HopSkipJumpAttack", steps=16, constraint="linf")}),
    Match("geoda", L2(), "5,000 queries", images=8, peers={"ART": art("GeoDA", max_iter=5000, batch_size=8)}),
    Match("sign_opt", L2(), "5,000 queries", images=8, peers={"ART": art("SignOPTAttack", targeted=False, query_limit=5000, batch_size=8)}),
    Match(
        "simba",
        L2(),
        "2,000 queries, lowest quarter of the cosines first",
        {"queries": 2000, "basis": "dct", "frequencies": 0.25},
        images=32,
        seeds=3,
        peers={"ART": art("SimBA", probabilities=True, attack="dct", freq_dim=8, epsilon=0.2, max_iter=1000, batch_size=1)},
    ),
    Match(
        "one_pixel",
        None,
        "550 queries, from the best parent",
        {"queries": 550, "population": 50, "base": "best"},
        images=64,
        seeds=3,
        peers={"torchattacks": torchattacks("OnePixel", pixels=1, steps=10, popsize=50)},
    ),
    Match(
        "spatial", None, "775 views, +-30 degrees, +-3/32 of the side", {"max_translation": 3 / 32}, peers={"Foolbox": foolbox_spatial()}
    ),
    *(
        Match("noise", ball, "100 draws", seeds=3, peers={"Foolbox": foolbox(theirs, ball.eps, repeats=100)})
        for ball, theirs in ((Linf(EPS), "LinfRepeatedAdditiveUniformNoiseAttack"), (L2(EPS2), "L2RepeatedAdditiveGaussianNoiseAttack"))
    ),
    *(
        Match(
            "degradation",
            L2(),
            f"{kind}, 100 strengths",
            {"kind": kind},
            peers={"Foolbox": foolbox(theirs, distance="l2", steps=100, **settings)},
        )
        for kind, theirs, settings in (
            ("contrast", "LinearSearchContrastReductionAttack", {}),
            ("blur", "GaussianBlurAttack", {"max_sigma": 8.0}),
        )
    ),
    Match(
        "spsa",
        Linf(EPS),
        "20 steps of 128 pairs",
        {"queries": 20 * 257 + 1, "samples": 256},
        images=8,
        peers={"CleverHans": cleverhans("spsa", EPS, 20, one_by_one=True, spsa_samples=128, learning_rate=0.01, delta=0.01)},
    ),
]
