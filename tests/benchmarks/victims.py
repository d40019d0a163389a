"""A Keras classifier and images under attack, as every library wants to see them: the same weights, the same pixels."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from advrun import Classifier, config
from advrun.engine import keras, tf, to_unit
from advrun.runs import runner
from advrun.runs.plan import make_plan
from advrun.runs.store import Store

IMAGES = 256


@dataclass(frozen=True, eq=False)
class Victim:
    """name: how tables call it. model: Keras, ending in logits. x: (n, h, w, c) float32 in [0, 1]. y: (n,) int32."""

    name: str
    model: Any
    x: np.ndarray
    y: np.ndarray

    @classmethod
    def load(cls, model: Path, x: np.ndarray, y: np.ndarray, name: str = "") -> Victim:
        """From a `.keras` file and its images, uint8 or float32 in [0, 1]."""
        return cls(name or model.stem, Classifier.from_file(model).model, to_unit(x), y.astype(np.int32))

    def first(self, n: int) -> Victim:
        """The same classifier with fewer images."""
        return self.part(0, n)

    def part(self, start: int, end: int) -> Victim:
        """The same classifier with the images from `start` to before `end`."""
        few = Victim(self.name, self.model, self.x[start:end], self.y[start:end])
        few.__dict__.update({name: self.__dict__[name] for name in ("classifier", "torch") if name in self.__dict__})
        return few

    @cached_property
    def wrong(self) -> np.ndarray:
        """(n,) bool: images that are misclassified before any attack."""
        wrong: np.ndarray = self.classifier.predict(self.x).argmax(-1) != self.y
        return wrong

    @property
    def digest(self) -> str:
        """Of model and images: what was measured of others is none of this victim's."""
        arrays = (*self.model.get_weights(), self.x, self.y)
        parts = (self.model.to_json().encode(), *(np.ascontiguousarray(array).tobytes() for array in arrays))
        return hashlib.sha256(b"".join(parts)).hexdigest()[:8]

    @cached_property
    def classifier(self) -> Classifier:
        return Classifier(self.model)

    @cached_property
    def foolbox(self) -> Any:
        import foolbox

        return foolbox.TensorFlowModel(self.model, bounds=(0, 1))

    @cached_property
    def art(self) -> Any:
        return self._in_art(self.model)

    @cached_property
    def art_softmax(self) -> Any:
        """For attacks that want probabilities."""
        return self._in_art(keras.Sequential([self.model, keras.layers.Softmax()]))

    def _in_art(self, model: Any) -> Any:
        from art.estimators.classification import TensorFlowV2Classifier

        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        shape = self.x.shape[1:]
        return TensorFlowV2Classifier(model, nb_classes=self.classifier.classes, input_shape=shape, loss_object=loss, clip_values=(0, 1))

    @cached_property
    def torch(self) -> Any:
        """The same weights in PyTorch, (n, c, h, w) -> logits. Raises when the two disagree."""
        from .in_torch import Network

        network = Network(self.model)
        theirs = network(self.torch_x).numpy()
        np.testing.assert_allclose(theirs, self.classifier.predict(self.x), atol=1e-3)
        return network

    @property
    def torch_x(self) -> Any:
        import torch

        return torch.tensor(self.x.transpose(0, 3, 1, 2).copy())

    @property
    def torch_y(self) -> Any:
        import torch

        return torch.tensor(self.y.astype(np.int64))

    @property
    def tensors(self) -> tuple[Any, Any]:
        return tf.constant(self.x), tf.constant(self.y.astype(np.int64))


def read_images(path: Path, limit: int = IMAGES) -> tuple[np.ndarray, np.ndarray]:
    """`x` and `y` of an `.npz` file."""
    with np.load(path) as arrays:
        return arrays["x"][:limit], arrays["y"][:limit]


def standard() -> list[Victim]:
    """The reference L-net (or a plain `cnn`, where ADVRUN_REFERENCE names no folder), and an adversarially trained `cnn`."""
    (plain, hardened), (x, y) = trained("victims", gtsrb(train=20_000))
    if reference := os.environ.get("ADVRUN_REFERENCE"):
        plain, (x, y) = Path(reference) / "lnet.keras", read_images(Path(reference) / "images.npz")
    return [Victim.load(plain, x, y), Victim.load(hardened, x, y, "cnn, adversarially trained")]


def unseen() -> list[Victim]:
    """Two that no test and no other table has: a narrow ResNet-8, and an adversarially trained L-net that reads digits."""
    (resnet,), signs = trained("resnet", gtsrb(train=20_000))
    (_, hardened), digits = trained("digits", mnist())
    return [
        Victim.load(resnet, *signs, "ResNet-8 of signs"),
        Victim.load(hardened, *digits, "L-net of digits, adversarially trained"),
    ]


def gtsrb(train: int) -> list[str]:
    """GTSRB as the data set, where ADVRUN_GTSRB names its file; else the one of the configuration."""
    root = os.environ.get("ADVRUN_GTSRB")
    return [f"data={{name: gtsrb, root: {root}, train_limit: {train}, test_limit: 1000}}"] if root else []


def mnist() -> list[str]:
    """MNIST, where ADVRUN_MNIST names its file."""
    root = os.environ.get("ADVRUN_MNIST")
    return [f"data={{name: mnist, root: {root}, test_limit: 1000}}"] if root else []


def trained(name: str, data: list[str]) -> tuple[list[Path], tuple[np.ndarray, np.ndarray]]:
    """The model files of NAME.yaml, trained where they are not yet, the undefended one first; and test images with labels."""
    experiment = config.load(Path(__file__).parent / f"{name}.yaml", data)
    runner.run(experiment)
    test, store = runner.load_data(experiment), Store(Path(experiment.results) / name)
    files = [store.file(cell, ".keras") for cell in make_plan(experiment, test).cells if cell.kind == "train"]
    return files, (test.x_test[:IMAGES], test.y_test[:IMAGES])
