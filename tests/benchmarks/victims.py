"""A Keras classifier and images under attack, as every library wants to see them: the same weights, the same pixels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from advrun import Classifier, config, runner
from advrun.craft import unit
from advrun.engine import keras, tf
from advrun.plan import make_plan
from advrun.store import Store

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
        return cls(name or model.stem, Classifier.from_file(model).model, unit(x), y.astype(np.int32))

    def first(self, n: int) -> Victim:
        """The same classifier with fewer images."""
        few = Victim(self.name, self.model, self.x[:n], self.y[:n])
        few.__dict__.update({name: self.__dict__[name] for name in ("classifier", "torch") if name in self.__dict__})
        return few

    @cached_property
    def classifier(self) -> Classifier:
        return Classifier(self.model)

    @cached_property
    def foolbox(self) -> Any:
        import foolbox

        return foolbox.TensorFlowModel(self.model, bounds=(0, 1))

    @cached_property
    def art(self) -> Any:
        from art.estimators.classification import TensorFlowV2Classifier

        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        shape = self.x.shape[1:]
        return TensorFlowV2Classifier(
            self.model, nb_classes=self.classifier.classes, input_shape=shape, loss_object=loss, clip_values=(0, 1)
        )

    @cached_property
    def torch(self) -> Any:
        """The same weights in PyTorch, (n, c, h, w) -> logits. Raises when the two disagree."""
        import torch

        network = torch_network(self.model)
        with torch.no_grad():
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
    gtsrb, reference = os.environ.get("ADVRUN_GTSRB"), os.environ.get("ADVRUN_REFERENCE")
    data = [f"data={{name: gtsrb, root: {gtsrb}, train_limit: 20000, test_limit: 1000}}"] if gtsrb else []
    experiment = config.load(Path(__file__).parent / "victims.yaml", data)
    runner.run(experiment)
    test, store = runner.load_data(experiment), Store(Path("results/compare/victims"))
    plain, hardened = (store.file(cell, ".keras") for cell in make_plan(experiment, test).cells if cell.kind == "train")
    if reference:
        plain, (x, y) = Path(reference) / "lnet.keras", read_images(Path(reference) / "images.npz")
    else:
        x, y = test.x_test[:IMAGES], test.y_test[:IMAGES]
    return [Victim.load(plain, x, y), Victim.load(hardened, x, y, "cnn, adversarially trained")]


def torch_network(model: Any) -> Any:
    """A chain of Keras layers as a `torch.nn.Sequential` with the same weights."""
    import torch

    steps: list[Any] = []
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if hasattr(layer, "layers") or type(layer).__name__ in ("InputLayer", "Dropout"):
            continue
        steps += _torch_layer(layer)
        activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
        if activation != "linear" and type(layer).__name__ != "ReLU":
            steps.append({"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[activation]())
    network = torch.nn.Sequential(*steps).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network


def _torch_layer(layer: Any) -> list[Any]:
    import torch

    class Flatten(torch.nn.Module):
        """In Keras's order: height, width, channels."""

        def forward(self, x: Any) -> Any:
            return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x

    class Mean(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.mean((2, 3))

    weights = [torch.tensor(weight) for weight in layer.get_weights()]
    match type(layer).__name__:
        case "Conv2D":
            kernel = weights[0].permute(3, 2, 0, 1).contiguous()
            made = torch.nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2:], layer.strides, layer.padding, bias=len(weights) > 1)
            made.weight.data = kernel
            if len(weights) > 1:
                made.bias.data = weights[1]
            return [made]
        case "Dense":
            made = torch.nn.Linear(*weights[0].shape)
            made.weight.data, made.bias.data = weights[0].T.contiguous(), weights[1]
            return [made]
        case "BatchNormalization":
            made = torch.nn.BatchNorm2d(len(weights[0]), eps=layer.epsilon)
            made.weight.data, made.bias.data, made.running_mean.data, made.running_var.data = weights
            return [made]
        case "AveragePooling2D":
            return [torch.nn.AvgPool2d(layer.pool_size, layer.strides)]
        case "MaxPooling2D":
            return [torch.nn.MaxPool2d(layer.pool_size, layer.strides)]
        case "GlobalAveragePooling2D":
            return [Mean()]
        case "Flatten":
            return [Flatten()]
        case "ReLU":
            return [torch.nn.ReLU()]
        case other:
            raise TypeError(f"no PyTorch form of the Keras layer {other} is written down here")
