"""MagNet's reformer (Meng and Chen, 2017, CCS, arXiv:1705.09064, section 4.4)."""

from __future__ import annotations

from advrun.defenses._magnet import autoencoder_of, trained_autoencoder
from advrun.engine import Rng
from advrun.system import Chain, Purifier
from advrun.train import Fit
from advrun.types import Count, NonNegative, Tensor

PRESETS = {"mnist": {"noise": 0.1}, "cifar": {"noise": 0.025}}


def magnet(system: Chain, fit: Fit, *, noise: NonNegative = 0.025, width: Count = 16) -> Chain:
    """Classify what an autoencoder makes of the image, which learnt from clean images alone.

    The whole MagNet is the chain [{name: magnet}, {name: magnet_detector}]: the reformer, and detectors that judge the image in front of
    it. It falls to attacks that go through it (Carlini and Wagner, 2017, arXiv:1711.08478).

    Args:
        noise: standard deviation of the Gaussian noise in training, in pixel units.
        width: channels of each layer.
    """
    network = trained_autoencoder(fit, autoencoder_of(system.network.input_shape[1:], width, pooled=False), noise, "reformer")

    def reform(x: Tensor, rng: Rng) -> Tensor:
        return network(x, training=False)

    return system.behind(Purifier(reform))
