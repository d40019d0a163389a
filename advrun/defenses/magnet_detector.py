"""MagNet's detectors (Meng and Chen, 2017, CCS, arXiv:1705.09064, section 4.3)."""

from __future__ import annotations

from typing import Any

from advrun.defenses._magnet import autoencoder_of, trained_autoencoder
from advrun.engine import ops
from advrun.system import Chain, Detector
from advrun.train import Fit
from advrun.types import Count, Minority, NonNegative, Positive, Tensor

PRESETS = {"mnist": {"noise": 0.1, "temperature": 10.0}, "cifar": {"noise": 0.025, "temperature": 10.0}}


def magnet_detector(
    system: Chain,
    fit: Fit,
    *,
    false_positives: Minority = 0.05,
    noise: NonNegative = 0.025,
    width: Count = 16,
    temperature: Positive = 10.0,
) -> Chain:
    """Reject images that two autoencoders, which learnt clean images alone, do not give back as they are.

    Four detectors, two of each autoencoder A: the reconstruction error |x - A(x)|_1 / d (section 4.3.1), and the Jensen-Shannon divergence
    of softmax(Z(x) / T) and softmax(Z(A(x)) / T) (section 4.3.2). Each may reject; each has a quarter of the false positives, so that all
    together have at most those asked for. With the reformer it is the chain [{name: magnet}, {name: magnet_detector}]. It falls to
    attacks that know it (Carlini and Wagner, 2017, arXiv:1711.08478).

    Args:
        false_positives: largest share of the validation images that is rejected; it gives the thresholds.
        noise: standard deviation of the Gaussian noise in training, in pixel units.
        width: channels of each layer.
        temperature: T of the divergence.
    """
    shape = system.network.input_shape[1:]
    networks = [
        trained_autoencoder(fit, autoencoder_of(shape, width, pooled=pooled), noise, stage)
        for pooled, stage in ((True, "detector I"), (False, "detector II"))
    ]

    def error(network: Any) -> Detector:
        return Detector(lambda x, logits: ops.mean(ops.abs(x - network(x, training=False)), axis=(1, 2, 3)))

    def divergence(network: Any) -> Detector:
        def score(x: Tensor, logits: Tensor) -> Tensor:
            return jensen_shannon(logits / temperature, system.logits(network(x, training=False)) / temperature)

        return Detector(score)

    guarded = system
    detectors = [kind(network) for network in networks for kind in (error, divergence)]
    for detector in detectors:
        guarded = guarded.beside(detector, fit, false_positives / len(detectors))
    return guarded


def jensen_shannon(one: Tensor, other: Tensor) -> Tensor:
    """Jensen-Shannon divergence of the softmax of two logits (n, classes), in nats, (n,), from 0 to log 2."""
    p, q = ops.softmax(one), ops.softmax(other)
    log_p, log_q = ops.log_softmax(one), ops.log_softmax(other)
    log_m = ops.logaddexp(log_p, log_q) - ops.log(2.0)
    return ops.sum(p * (log_p - log_m) + q * (log_q - log_m), axis=-1) / 2
