"""Distance to Gaussians of the classes' features as a detector (Lee, Lee, Lee and Shin, 2018, arXiv:1807.03888, section 2.1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from advrun.defenses._features import penultimate
from advrun.engine import ops
from advrun.samples import Samples
from advrun.system import Chain, Detector
from advrun.train import Fit
from advrun.types import Minority, Tensor

SMALLEST = 1e-6
"""Directions in which the features vary less than this, as a share of the most, are left out, as by a pseudo-inverse."""


def mahalanobis(system: Chain, fit: Fit, *, false_positives: Minority = 0.05) -> Chain:
    """Reject images whose features are far from those of every class; nothing is trained.

    score(x) = min over classes c of (f(x) - mu_c)' Sigma^-1 (f(x) - mu_c) (equation 2, its sign turned), f the input of the last Dense
    layer, mu_c the mean of the training images of class c, and Sigma the covariance around these means that all classes share (equation
    1). NOTE: the features of earlier layers, the logistic regression over layers (which learns from attacked images), and the noise that is
    added to the image first (section 2.2) are left out. An attack through f brings the features to where it wants (Carlini and Wagner,
    2017, arXiv:1705.07263, of such detectors).

    Args:
        false_positives: share of the validation images that is rejected; it gives the threshold.
    """
    network = penultimate(system.network)

    def features(x: Tensor) -> Tensor:
        return ops.cast(network(system.purify(x), training=False), "float32")

    def gaussians(training: Samples, validation: Samples) -> dict[str, Any]:
        return tied(training.over(features), training.y)

    found = fit.statistics("gaussians", gaussians)

    def score(x: Tensor, logits: Tensor) -> Tensor:
        white = ops.matmul(features(x) - found["centre"], found["whitening"])
        squares = ops.sum(ops.square(white), axis=-1, keepdims=True) + np.square(found["means"]).sum(-1)
        return ops.min(squares - 2 * ops.matmul(white, found["means"].T), axis=-1)

    return system.beside(Detector(score), fit, false_positives)


def tied(features: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Gaussians of the classes that there are, of one covariance, from features (n, d) and labels (n,).

    Returns centre (d,), whitening (d, r), so that white = (f - centre) whitening has the distance of Mahalanobis as its Euclidean one, and
    the means (classes, r) of the classes, white already; all float32.
    """
    features = features.astype(np.float64)
    means = np.stack([features[y == label].mean(0) for label in np.unique(y)])
    centred = features - means[np.unique(y, return_inverse=True)[1]]
    values, vectors = np.linalg.eigh(centred.T @ centred / len(features))
    kept = values > SMALLEST * values.max()
    whitening, centre = vectors[:, kept] / np.sqrt(values[kept]), features.mean(0)
    parts = {"centre": centre, "whitening": whitening, "means": (means - centre) @ whitening}
    return {name: part.astype(np.float32) for name, part in parts.items()}
