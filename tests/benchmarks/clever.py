"""CLEVER beside ART's: `python -m tests.benchmarks.clever --victim lnet.keras --images images.npz`, in the peers' environment.

ART's `clever_t` and `clever_u` on its KerasClassifier, at the same numbers of batches and samples. ART draws no fresh samples for each
batch: it takes `pool_factor` times as many as a batch has, and draws the batches from these, with replacement. So of 50 batches of 64 at
its default, 10, there are 640 gradients where 3,200 are asked for, and its maxima are often one and the same gradient. A pool as large as
all batches together still gives many of them twice; at one twenty times as large both sample alike, and what is left is the fit: SciPy's
from one start there, ours from twenty. Seen of the reference L-net at 30 batches of 16, second class, 10 images: a median of 0.956 at ART's
own pool, of 0.911 at a pool of 480, and of 0.985 at one of 9,600.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from advrun import L2, registry
from advrun.certify import Bound, certify
from advrun.config.entries import settings_of
from advrun.engine import keras, tf

from .victims import Victim, read_images

RADIUS = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--victim", type=Path, required=True, help="a .keras file")
    parser.add_argument("--images", type=Path, required=True, help="an .npz file with x and y")
    parser.add_argument("--count", type=int, default=24, help="images, of those that are classified right, for the targeted score")
    parser.add_argument("--untargeted", type=int, default=6, help="images for the untargeted score, which ART takes a pool per class for")
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--samples", type=int, default=64)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    victim = Victim.load(options.victim, *read_images(options.images))
    logits = victim.classifier.predict(victim.x)
    right = np.flatnonzero(logits.argmax(-1) == victim.y)[: options.count]
    x, y, second = victim.x[right], victim.y[right], np.argsort(-logits[right])[:, 1]
    own = ours(victim, x, y, options, target="second")
    print(f"{options.batches} batches of {options.samples}, L2, radius {RADIUS:g}; score of advrun / score of ART")
    for factor in (10, options.batches, 20 * options.batches):
        peers = np.array([theirs(victim, "clever_t", image, options, factor, int(label)) for image, label in zip(x, second, strict=True)])
        print(in_words(f"targeted, pool of {factor * options.samples}", own / peers), flush=True)
    few = options.untargeted
    if not few:
        return 0
    own = ours(victim, x[:few], y[:few], options)
    peers = np.array([theirs(victim, "clever_u", image, options, options.batches) for image in x[:few]])
    print(in_words(f"untargeted, pool of {options.batches * options.samples}", own / peers), flush=True)
    return 0


def in_words(what: str, ratio: np.ndarray) -> str:
    low, high = np.quantile(ratio, (0.1, 0.9))
    return f"{what:<28} median {np.median(ratio):.3f}, from {low:.3f} to {high:.3f} of {len(ratio)} images (10 to 90 %)"


def ours(victim: Victim, x: np.ndarray, y: np.ndarray, options: Any, target: str | None = None) -> np.ndarray:
    plugin = registry.get("bounds", "clever")
    given = {"batches": options.batches, "samples": options.samples, "radius": RADIUS, "classes": None}
    return certify(victim.classifier, Bound(plugin, L2(), settings_of(plugin, given)), x, y, target=target).radius


def theirs(victim: Victim, name: str, image: np.ndarray, options: Any, factor: int, target: int | None = None) -> float:
    """ART's function of that name."""
    from art.metrics import metrics

    np.random.seed(0)
    aimed = {} if target is None else {"target_class": target}
    quiet = {"verbose": False} if target is None else {}
    budget = {"nb_batches": options.batches, "batch_size": options.samples, "radius": RADIUS, "norm": 2, "pool_factor": factor}
    return float(getattr(metrics, name)(peer(victim), image, **aimed, **budget, **quiet))


@cache
def peer(victim: Victim) -> Any:
    """ART's KerasClassifier, whose gradients, all classes' each time, one of which it returns, are computed one by one and compiled."""
    from art.estimators.classification import KerasClassifier

    class OneByOne(KerasClassifier):  # type: ignore[misc]
        def class_gradient(self, x: np.ndarray, label: Any = None, **_: Any) -> np.ndarray:
            return gradient(victim.model)(tf.constant(x), tf.constant(int(label))).numpy()[:, None]

    plain = KerasClassifier(victim.model, use_logits=True, clip_values=(0, 1))
    quick = OneByOne(victim.model, use_logits=True, clip_values=(0, 1))
    some = victim.x[:2]
    np.testing.assert_allclose(quick.class_gradient(some, label=1), plain.class_gradient(some, label=1), atol=1e-5)
    return quick


@cache
def gradient(model: keras.Model) -> Callable[..., Any]:
    @tf.function(reduce_retracing=True)
    def run(x: Any, label: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            logit = tf.gather(model(x, training=False), label, axis=1)
        return tape.gradient(logit, x)

    return run


if __name__ == "__main__":
    raise SystemExit(main())
