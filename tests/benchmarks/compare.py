"""advrun beside its peers: `python -m tests.benchmarks.compare`, or `make parity` and `make bench`, which build the peers' environment.

Every match of `matches.py` runs once on every victim; what was measured stays in `results/compare/`, so that a killed run goes on.
From it are written PARITY.md (strength) and SPEED.md with its figure.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from advrun import engine, registry
from advrun.attack import Attack
from advrun.config.entries import settings_of
from advrun.craft import craft
from advrun.geometry import L2
from advrun.losses import cross_entropy

from . import report
from .matches import MATCHES, Match, Peer
from .victims import Victim, read_images, standard

HERE = Path(__file__).parent
KEPT = Path("results/compare")
PACKAGES = {
    "ART": "adversarial-robustness-toolbox",
    "Foolbox": "foolbox",
    "CleverHans": "cleverhans",
    "PyTorch": "torch",
    "torchattacks": "torchattacks",
    "adv-lib": "adv-lib",
    "AutoAttack": "pyautoattack",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--victim", action="append", type=Path, help="a .keras file; several times for several")
    parser.add_argument("--images", type=Path, help="an .npz file with x and y")
    parser.add_argument("--only", action="append", default=[], help="attacks to run, several times; all by default")
    parser.add_argument("--fresh", action="store_true", help="measure again what is kept")
    parser.add_argument(
        "--default-tensorflow", action="store_true", help="only time peers on TensorFlow as it comes, without its oneDNN switch"
    )
    parser.add_argument("--no-peers", action="store_true", help="advrun alone")
    parser.add_argument("--write", type=Path, default=HERE, help="folder of PARITY.md, SPEED.md and speed.svg")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.default_tensorflow:
        os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)
        importlib.import_module("tensorflow")  # before advrun switches it on
    if bool(options.victim) != bool(options.images):
        parser.error("--victim and --images go together")
    victims = [Victim.load(path, *read_images(options.images)) for path in options.victim] if options.victim else standard()
    options.write.mkdir(parents=True, exist_ok=True)
    measured: dict[str, dict[str, Any]] = {}
    for victim in victims:
        store = KEPT / f"{victim.name}-{victim.digest}.json"
        kept = {} if options.fresh or not store.exists() else json.loads(store.read_text())
        for match in MATCHES:
            if options.only and match.attack not in options.only:
                continue
            found = kept.setdefault(match.key, {})
            rows = (
                out_of_the_box(match, victim, found)
                if options.default_tensorflow
                else run(match, victim, found, peers=not options.no_peers)
            )
            for name, outcome in rows:
                found[name] = outcome
                store.parent.mkdir(parents=True, exist_ok=True)
                store.write_text(json.dumps(kept))
                print(f"{victim.name}  {match.key}  {name}: {report.in_words(match, outcome)}", flush=True)
        measured[store.stem if victim.name in measured else victim.name] = kept
    packages = {"TensorFlow": "tensorflow", "Keras": "keras", **({} if options.no_peers else PACKAGES)}
    environment = {name: version(package) for name, package in packages.items()}
    return report.write(measured, environment, options.write)


def run(match: Match, victim: Victim, found: dict[str, Any], *, peers: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Outcomes by library of what is not yet `found`; ours first."""
    few = victim.first(match.images)
    if "advrun" not in found:
        yield "advrun", ours(match, few)
    for name, peer in match.peers.items() if peers else ():
        if name not in found:
            yield name, theirs(match, few, peer)


def out_of_the_box(match: Match, victim: Victim, found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The outcomes of peers on TensorFlow that are known already, with the seconds that they take on TensorFlow as it comes."""
    for name in report.IN_TENSORFLOW:
        if "seconds" in found.get(name, {}) and "default_seconds" not in found[name]:
            yield name, {**found[name], "default_seconds": theirs(match, victim.first(match.images), match.peers[name]).get("seconds")}


def ours(match: Match, victim: Victim) -> dict[str, Any]:
    """Strength, seconds of the first call (which compiles) and of the second, and what the bare calls of the model would take."""
    plugin = registry.get("attacks", match.attack)
    attack = Attack(plugin, match.ball, settings_of(plugin, match.settings))
    runs = []
    for seed in range(max(match.seeds, 2)):
        options = {"seed": seed % match.seeds, "batch_size": len(victim.x), "only_correct": False, "target": match.target}
        runs.append(craft(victim.classifier, attack, victim.x, victim.y, **options))
    crafted = runs[-1]
    gradient, forward = unit_costs(victim)
    floor = float(crafted.gradients.mean() * gradient + crafted.queries.mean() * forward)
    cost = {"gradients": float(crafted.gradients.mean()), "queries": float(crafted.queries.mean())}
    times = {"first": runs[0].seconds, "seconds": min(run.seconds for run in runs[1:])}
    return {**strength(match, victim, [run.x_adv for run in runs[: match.seeds]]), **times, "floor": floor, **cost}


def theirs(match: Match, victim: Victim, peer: Peer) -> dict[str, Any]:
    """Strength and seconds of a peer, or the line that it failed with."""
    prepare(victim)
    runs, times = [], []
    for seed in range(match.seeds):
        seed_everything(seed)
        start = time.perf_counter()
        try:
            runs.append(peer(victim))
        except Exception as error:  # a peer is anybody's code: whatever it raises is its result
            return {"error": f"{type(error).__name__}: {error}".split("\n")[0][:120]}
        times.append(time.perf_counter() - start)
    return {**strength(match, victim, runs), "seconds": min(times)}


def seed_everything(seed: int) -> None:
    """Python, NumPy, TensorFlow, PyTorch."""
    engine.keras.utils.set_random_seed(seed)
    with contextlib.suppress(ImportError):
        import torch

        torch.manual_seed(seed)


def prepare(victim: Victim) -> None:
    """Build what peers share before their clock runs."""
    for build in ("foolbox", "art", "torch"):
        try:
            getattr(victim, build)
        except TypeError as error:
            print(f"{victim.name}: {error}", file=sys.stderr)


def strength(match: Match, victim: Victim, runs: list[np.ndarray]) -> dict[str, Any]:
    """How often each image is fooled, and how far it went; what left the box or the ball counts as not fooled, and is told.

    spread: standard deviation of the accuracy over the runs, 0 to 1; None for one run.
    """
    each = [judged(match, victim, x_adv) for x_adv in runs]
    fooled, distance, outside = (np.mean(columns, axis=0).round(6).tolist() for columns in zip(*each, strict=True))
    spread = float(np.std([run[0].mean() for run in each], ddof=1)) if len(each) > 1 else None
    return {"fooled": fooled, "distance": distance, "outside": outside, "spread": spread}


def judged(match: Match, victim: Victim, x_adv: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """(n,) bool: fooled, as are images misclassified already; (n,) distances; how many images left the box or the ball."""
    ball = match.ball or L2()
    x_adv = x_adv.astype(np.float32)
    broken = ~np.isfinite(x_adv).all((1, 2, 3)) | (x_adv < -1e-4).any((1, 2, 3)) | (x_adv > 1 + 1e-4).any((1, 2, 3))
    x_adv = np.where(broken[:, None, None, None], victim.x, x_adv).clip(0, 1)
    distance = np.asarray(ball.distance(x_adv, victim.x))
    broken |= distance > ball.eps * (1 + 1e-3)
    fooled = (victim.classifier.predict(x_adv).argmax(-1) != victim.y) & ~broken
    return fooled | victim.wrong, distance, int(broken.sum())


def unit_costs(victim: Victim) -> tuple[float, float]:
    """Seconds of one compiled gradient and of one compiled forward pass over all images: the best of many."""
    x, y = engine.tf.constant(victim.x), engine.tf.constant(victim.y)
    classifier = victim.classifier
    gradient = classifier.compiled("bare gradient", lambda: lambda x, y: classifier.gradient(cross_entropy, x, y))
    forward = classifier.compiled("bare forward", lambda: lambda x, y: classifier.forward(x))
    return best_time(lambda: gradient(x, y)), best_time(lambda: forward(x, y))


def best_time(call: Callable[[], Any], repeats: int = 15) -> float:
    np.asarray(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        np.asarray(call())
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    raise SystemExit(main())
