"""Corruptions: JPEG against Pillow, blurs against SciPy, and more harm at higher severities."""

from __future__ import annotations

import io
import typing

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from advrun import attacks
from advrun.attacks._blur import gaussian_blur
from advrun.attacks.corruptions import BLUR
from advrun.datasets.signs import signs
from advrun.jpeg import jpeg

KINDS = typing.get_args(attacks.corruptions.plugin.settings["kind"].annotation)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return signs(train=50, test=8).x_test / np.float32(255)


def psnr(a, b) -> float:
    return float(-10 * np.log10(np.square(a - b).mean()))


@pytest.mark.parametrize("quality", [80, 40, 10])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_pillow(pictures, quality, channels):
    for picture in pictures[:, :27, :, :channels]:
        file = io.BytesIO()
        pixels = np.rint(picture * 255).astype(np.uint8)
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, "JPEG", quality=quality)
        theirs = np.asarray(Image.open(file), np.float32).reshape(picture.shape) / 255
        ours = np.asarray(jpeg(picture[None], quality))[0]
        assert psnr(ours, theirs) > psnr(picture, theirs) + 2
        assert psnr(ours, theirs) > (34 if channels == 1 else 29)


def test_blur_is_scipys(pictures):
    theirs = gaussian_filter(pictures, (0, 0.8, 0.8, 0), mode="nearest", truncate=4)
    np.testing.assert_allclose(gaussian_blur(pictures, np.full(len(pictures), 0.8, np.float32), widest=1.1), theirs, atol=1e-4)
    assert tuple(sorted(BLUR)) == BLUR


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind == "motion_blur")) for kind in KINDS])
@pytest.mark.parametrize("channels", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_higher_severities_change_more(network, pictures, kind, channels):
    from advrun import Classifier
    from advrun.engine import keras

    shape = (*pictures.shape[1:3], channels)
    anything = Classifier(keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(3)]))
    x, y = pictures[..., :channels], np.zeros(len(pictures), np.int32)
    changed = [attacks.corruptions(anything, x, y, kind=kind, severity=severity) for severity in range(1, 6)]
    quality = [psnr(x, each) for each in changed]
    if kind != "frost":  # whose image dims while its ice grows: as wrong, but harder to read
        assert quality == sorted(quality, reverse=True), quality
    assert quality[-1] < min(quality[0] - 2, 35)
