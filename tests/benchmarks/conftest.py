"""The victim of the benchmarks: the reference L-net where ADVRUN_REFERENCE names its folder, else one trained here."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from advrun import Classifier, engine
from advrun.checkpoints import Checkpoints
from advrun.console import Console
from advrun.datasets.signs import signs
from advrun.models.lnet import lnet
from advrun.train import Fit, classification


@pytest.fixture(scope="session")
def victim(tmp_path_factory) -> tuple[Classifier, np.ndarray, np.ndarray]:
    """Classifier, 256 images (float32), labels."""
    folder = os.environ.get("ADVRUN_REFERENCE")
    if folder:
        with np.load(Path(folder) / "images.npz") as arrays:
            x, y = arrays["x"], arrays["y"]
        return Classifier.from_file(Path(folder) / "lnet.keras"), x / np.float32(255), y.astype(np.int32)
    data = signs(train=5000, test=256)
    engine.start(0)
    settings = SimpleNamespace(epochs=6, batch_size=128, learning_rate=1e-3, patience=9)
    fit = Fit(data, settings, 0.1, 0, Checkpoints(tmp_path_factory.mktemp("fit")), Console(quiet=True), "victim")
    model = lnet(data.image_shape, data.classes)
    return Classifier(fit(model, classification(model))), data.x_test / np.float32(255), data.y_test
