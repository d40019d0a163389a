"""advrun's envelope beside its peers': `python -m tests.benchmarks.envelope`, or `make envelope`, which builds the peers' environment.

The envelope of a library is, for each image, the closest example that any of its attacks finds with 1,000 gradients at most. Every attack
runs once on every victim, on a block of images at a time; what was measured stays in `results/compare/`, so that a killed run goes on, and
one of more images begins where the last one ended. From it ENVELOPE.md is written.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import signal
import time
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from advrun import L0, L1, L2, Linf, registry
from advrun.attack import Attack
from advrun.config.entries import settings_of
from advrun.craft import craft
from advrun.geometry import Ball

from .compare import HERE, KEPT, judged, prepare, seed_everything
from .matches import Match, Peer, adv_lib, fab, foolbox
from .report import SHARE, section
from .victims import Victim, unseen

BUDGET, TARGETS = 1000, 9
EACH = BUDGET // TARGETS
IMAGES = {"L0": 160, "L1": 40, "L2": 40, "Linf": 40}
"""How many of each victim's. The distances of L0 are small whole numbers: a mean of few of them is a rough one."""
BLOCK, MINUTES = 40, 5
"""An attack that takes longer on a block of images is not waited for."""
NORMS = (L0(), L1(), L2(), Linf())
OURS = "advrun"
PACKAGES = {"TensorFlow": "tensorflow", "PyTorch": "torch", "Foolbox": "foolbox", "adv-lib": "adv-lib", "AutoAttack": "pyautoattack"}

HEAD = """# Envelopes: the closest examples of all of advrun's attacks beside those of all of its peers'

Made by `make envelope` on {date}: {environment}.
The same weights, and the first n images that the victim gets right; one run of each attack, {budget:,} gradients for each image at most.
A library's envelope has, of each image, the closest example that any of its attacks found; `=`: on average advrun's is at most 1 % farther
than that of all peers together. After ±, the standard error of the ratio over images. Of each attack there are the mean distance of the
images that it fooled, in brackets the percentage that it did not fool where there are such; on how many images nobody came nearer; and what
it adds to advrun's envelope: by how much the mean distance would be larger without it, or for a peer's attack is larger as long as advrun
lacks it. Attacks and norms without a row have not been measured on this victim yet.
"""


def attacks_of_ours(norm: Ball) -> dict[str, dict[str, Any]]:
    """advrun's attacks that look for the nearest image in this norm, and settings with which they stay within the budget."""
    everywhere: dict[str, dict[str, Any]] = {"fmn": {"steps": BUDGET}, "brendel_bethge": {"steps": BUDGET}}
    runs = {"fab": {"one_by_one": True, "targets": TARGETS, "steps": EACH}}
    own: dict[str, dict[str, dict[str, Any]]] = {
        "L0": {"sigma_zero": {"steps": BUDGET}, "cw_l0": {"steps": BUDGET}, "jsma": {"steps": BUDGET}},
        "L1": {**runs, "ead": {"search_steps": 9, "steps": EACH, "beta": 1e-2}},
        "L2": {**runs, "ddn": {"steps": BUDGET}, "cw": {"search_steps": 9, "steps": EACH}},
        "Linf": {**runs, "cw_linf": {"steps": BUDGET}, "deepfool": {"steps": BUDGET // 10}},
    }
    return everywhere | own[norm.name]


def attacks_of_peers(norm: Ball, classes: int) -> dict[str, Peer]:
    """What peers have for this norm, within the same budget.

    classes: adv-lib's FAB asks for the gradient of each in every step.
    """
    order = norm.order
    everywhere = {
        "fmn, adv-lib": adv_lib("fmn", norm=order, steps=BUDGET),
        "pdpgd, adv-lib": adv_lib("pdpgd", norm=order, num_steps=BUDGET, proximal_operator=order or 23),  # of L2/3, as its text advises
        "brendel_bethge, Foolbox": foolbox(f"{norm.name.replace('inf', 'infinity')}BrendelBethgeAttack", steps=BUDGET),
    }
    runs = {
        "fab, adv-lib": adv_lib("fab", norm=order, n_iter=BUDGET // classes),
        "fab, AutoAttack": fab(norm.name, TARGETS, steps=EACH),
    }
    own = {
        "L0": {
            "sigma_zero, adv-lib": adv_lib("sigma_zero", num_steps=BUDGET),
            "vfga, adv-lib": adv_lib("vfga", targeted=False, max_iter=BUDGET),
        },
        "L1": {
            **runs,
            "alma, adv-lib": adv_lib("alma", distance="l1", num_steps=BUDGET, init_lr_distance=0.5, α=0.5),  # as in AttackBench
            "ead, Foolbox": foolbox(
                "EADAttack", binary_search_steps=9, steps=EACH, regularization=1e-2, decision_rule="L1", abort_early=False
            ),
        },
        "L2": {
            **runs,
            "alma, adv-lib": adv_lib("alma", distance="l2", num_steps=BUDGET, init_lr_distance=0.1),
            "pdgd, adv-lib": adv_lib("pdgd", num_steps=BUDGET),
            "ddn, adv-lib": adv_lib("ddn", steps=BUDGET, levels=None),
            "cw, adv-lib": adv_lib("carlini_wagner_l2", binary_search_steps=9, max_iterations=EACH),
        },
        "Linf": {**runs, "deepfool, Foolbox": foolbox("LinfDeepFoolAttack", steps=BUDGET // 10, candidates=10)},
    }
    return everywhere | own[norm.name]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", default=[], help="norms, or names of attacks, to run; several times; all by default")
    parser.add_argument("--images", type=int, help=f"how many of each victim's, in all norms; by default {IMAGES}")
    parser.add_argument("--fresh", action="append", default=[], help="names of attacks to measure again, such as fmn or 'fmn, adv-lib'")
    parser.add_argument("--write", type=Path, default=HERE, help="folder of ENVELOPE.md")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    measured: dict[str, dict[str, Any]] = {}
    for victim in map(right, unseen()):
        prepare(victim)
        store = KEPT / f"envelope-{victim.name}-{victim.digest}.json"
        kept = json.loads(store.read_text()) if store.exists() else {}
        for norm in NORMS:
            found, images = kept.setdefault(norm.name, {}), options.images or IMAGES[norm.name]
            runs = {f"{name}, {OURS}": ours(name, norm, settings) for name, settings in attacks_of_ours(norm).items()}
            for name, attack in (runs | attacks_of_peers(norm, victim.classifier.classes)).items():
                labels = {name, name.split(",")[0]}
                if options.only and not (labels | {norm.name}) & set(options.only):
                    continue
                if labels & set(options.fresh):
                    found.pop(name, None)
                start = time.perf_counter()
                for far in distances(victim.first(images), norm, attack, found.get(name, [])):
                    found[name] = far
                    store.parent.mkdir(parents=True, exist_ok=True)
                    store.write_text(json.dumps(kept))
                    print(f"{victim.name}  {norm.name}  {name}: {told(far)} of {len(far)}, {time.perf_counter() - start:.0f} s", flush=True)
        measured[victim.name] = {name: complete(found, options.images or IMAGES[name]) for name, found in kept.items()}
    facts = {"environment": ", ".join(f"{name} {version(package)}" for name, package in PACKAGES.items())}
    text, behind = report(measured, {**facts, "date": datetime.date.today().isoformat(), "budget": BUDGET})
    (options.write / "ENVELOPE.md").write_text(text, encoding="utf-8")
    for line in behind:
        print(f"peers come nearer: {line}")
    return int(bool(behind))


def right(victim: Victim) -> Victim:
    """The victim with the images that it gets right."""
    return Victim(victim.name, victim.model, victim.x[~victim.wrong], victim.y[~victim.wrong])


def complete(found: Mapping[str, list[float]], images: int) -> dict[str, list[float]]:
    """The distances of the first images, of the attacks that were run on all of them."""
    return {name: far[:images] for name, far in found.items() if len(far) >= images}


def ours(name: str, norm: Ball, settings: Mapping[str, Any]) -> Peer:
    """An attack of advrun, in the form that peers have. Raises RuntimeError where it asks for more than the budget."""
    plugin = registry.get("attacks", name)

    def run(victim: Victim) -> np.ndarray:
        attack = Attack(plugin, norm, settings_of(plugin, settings))
        crafted = craft(victim.classifier, attack, victim.x, victim.y, batch_size=len(victim.x))
        if crafted.gradients.max() > BUDGET:
            raise RuntimeError(f"{name} took {crafted.gradients.max()} gradients; the budget is {BUDGET}")
        return np.asarray(crafted.x_adv)

    return run


def distances(victim: Victim, norm: Ball, attack: Peer, known: list[float]) -> Iterator[list[float]]:
    """How far each image's example is: those known, and in every turn a block of images more.

    Infinitely far where it fools nobody; NaN where the block took too long, and for all images after it.
    """
    for start in range(len(known), len(victim.x), BLOCK):
        block = victim.part(start, start + BLOCK)
        seed_everything(0)
        try:
            if np.isnan(known[-1:]).any():
                raise TimeoutError
            with limited(60 * MINUTES):
                x_adv = attack(block)
        except TimeoutError:
            known = known + [np.nan] * len(block.x)
        else:
            fooled, far, _ = judged(Match("envelope", norm, ""), block, x_adv)
            known = known + np.where(fooled, far, np.inf).tolist()
        yield known


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises TimeoutError from whatever runs within, once it has taken so long."""

    def over(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def report(measured: Mapping[str, Mapping[str, Mapping[str, list[float]]]], facts: Mapping[str, Any]) -> tuple[str, list[str]]:
    """ENVELOPE.md, and a line for each norm in which peers come nearer."""
    parts, behind = [HEAD.format(**facts)], []
    for victim, by_norm in measured.items():
        summary, attacks, slow = [], [], []
        for norm, tried in by_norm.items():
            found = {name: far for name, far in tried.items() if not np.isnan(far).any()}
            slow += [f"{name}, in {norm}" for name in tried if name not in found]
            mine, theirs = ({name: each for name, each in found.items() if name.endswith(OURS) == own} for own in (True, False))
            if not mine or not theirs:
                continue
            own, other = envelope(mine), envelope(theirs)
            ratio = ratio_of_means(own, other)
            means = [told(each) for each in (own, other)]
            medians = [f"{np.median(each):.4g}" for each in (own, other)]
            beside = f"{ratio:.3f} ± {standard_error(own, other):.3f}"
            summary.append([norm, str(len(own)), *means, beside, *medians, "=" if ratio <= 1 + SHARE else "peers"])
            if ratio > 1 + SHARE:
                behind.append(f"{victim}, {norm}: advrun {means[0]}, peers {means[1]}")
            attacks += [[norm, *row] for row in rows(mine, found)]
        heads = ["norm", "n", "advrun: mean", "peers: mean", "ratio", "advrun: median", "peers: median", ""]
        parts.append(section(victim, heads, summary))
        parts.append("\n".join(section(victim, ["norm", "attack", "mean", "nearest on", "adds"], attacks).split("\n")[2:]))
        if slow:
            parts.append(f"Not done after {MINUTES} minutes with a block of {BLOCK} images: {'; '.join(slow)}.\n")
    return "\n".join(parts), behind


def rows(mine: Mapping[str, list[float]], found: Mapping[str, list[float]]) -> list[list[str]]:
    """Of each attack, its name, its mean, on how many images nobody came nearer, and what it adds to `mine`; the nearest first."""
    closest, table = envelope(found), []
    for name, far in sorted(found.items(), key=lambda item: np.minimum(item[1], 1e9).mean()):
        others = [each for other, each in mine.items() if other != name]
        adds = ratio_of_means(np.min(others, axis=0), np.min([*others, far], axis=0)) - 1 if others else np.inf
        table.append([name, told(np.asarray(far)), str(int((np.asarray(far) <= closest * (1 + 1e-6)).sum())), f"{100 * adds:.1f} %"])
    return table


def envelope(found: Mapping[str, list[float]]) -> np.ndarray:
    """(n,) the closest of each image."""
    return np.min(list(found.values()), axis=0)


def ratio_of_means(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Over the images that both fooled; infinite where the others fooled more."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    if (np.isfinite(theirs) & ~both).any():
        return float("inf")
    return float(ours[both].mean() / theirs[both].mean())


def standard_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of `ratio_of_means`, to first order, over the images as drawn at random from many (Cochran, 1977, section 2.11)."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    residual = ours[both] - ours[both].mean() / theirs[both].mean() * theirs[both]
    return float(np.sqrt(np.square(residual).sum() / max(both.sum() - 1, 1) / both.sum()) / theirs[both].mean())


def told(far: np.ndarray | list[float]) -> str:
    """'0.6440', or '0.6440 (12.5)' where 12.5 % were not fooled."""
    reached = np.isfinite(far)
    mean = f"{np.asarray(far)[reached].mean():.4g}" if reached.any() else "-"
    return mean if reached.all() else f"{mean} ({100 * (1 - reached.mean()):.1f})"


if __name__ == "__main__":
    raise SystemExit(main())
