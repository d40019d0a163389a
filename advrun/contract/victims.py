"""What units are tried on: small models, built by hand or trained, and small images. Everything here is real, and the same each time."""

from __future__ import annotations

from functools import cache

import numpy as np

from advrun import engine
from advrun.data import Dataset
from advrun.engine import keras
from advrun.images import Images
from advrun.system import Classifier

CLASSES = 5
IMAGE_SHAPE = (6, 6, 3)


@cache
def images() -> np.ndarray:
    """Ten images away from the corners of the box, float32."""
    return np.random.default_rng(7).uniform(0.3, 0.7, (10, *IMAGE_SHAPE)).astype(np.float32)


@cache
def network() -> Classifier:
    """A small convolutional network with random weights: nothing about it is linear."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    hidden = [layers.Conv2D(4, 3, activation="tanh"), layers.Flatten(), layers.Dense(16, activation="relu")]
    output = layers.Dense(CLASSES, kernel_initializer="random_normal")
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), *hidden, output], name="network")
    model.layers[-1].set_weights([20 * weight for weight in model.layers[-1].get_weights()])
    return Classifier(model)


@cache
def labels() -> np.ndarray:
    """True classes of the images as the network sees them, but for the first two images, which it gets wrong."""
    y = network().predict(images()).argmax(-1)
    y[:2] = (y[:2] + 1) % CLASSES
    return y


@cache
def blind() -> Classifier:
    """The network with its input rounded to eleven grey levels: every gradient is zero."""
    inputs = keras.Input(IMAGE_SHAPE)
    return Classifier(keras.Model(inputs, network().model(engine.ops.round(inputs * 10) / 10)))


@cache
def linear() -> Classifier:
    """logits = W x + b: the distance of every image to every decision boundary is known in closed form."""
    return linear_classifier(CLASSES, seed=1)


def linear_classifier(classes: int, seed: int, shape: tuple[int, ...] = IMAGE_SHAPE) -> Classifier:
    """A linear classifier with random weights."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    layers = [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(classes)]
    model = keras.Sequential(layers, name="linear")
    model.layers[-1].set_weights([rng.normal(size=(size, classes)).astype(np.float32), 0.1 * rng.normal(size=classes).astype(np.float32)])
    return Classifier(model)


def boundary_distances(classifier: Classifier, x: np.ndarray, order: float) -> np.ndarray:
    """Distance (n,) of x to the nearest boundary of a linear classifier in the norm `order`.

    In L2 and Linf the box is left aside; in L1 and L0, where single values go far, it is what bounds them.
    """
    weights, bias = classifier.model.layers[-1].get_weights()
    logits = x.reshape(len(x), -1) @ weights + bias
    own = logits.argmax(-1)
    distances = np.full(logits.shape, np.inf)
    for i, label in enumerate(own):
        for other in set(range(logits.shape[1])) - {label}:
            gap = logits[i, label] - logits[i, other]
            slope = weights[:, other] - weights[:, label]
            if order >= 2:
                distances[i, other] = gap / np.linalg.norm(slope, ord=2 if order == 2 else 1)
            else:
                distances[i, other] = sparse_distance(gap, slope, x[i].ravel(), order)
    return distances.min(-1)


def sparse_distance(gap: float, slope: np.ndarray, x: np.ndarray, order: float) -> float:
    """Least L1 change, or least number of changed values (order 0), that closes the gap inside the box: greedily exact."""
    room = np.where(slope > 0, 1 - x, x)
    gain = np.abs(slope) * room
    by = np.argsort(-(np.abs(slope) if order == 1 else gain))
    total = np.cumsum(gain[by])
    if total[-1] < gap:
        return np.inf
    last = int(np.searchsorted(total, gap))
    if order == 0:
        return last + 1
    before = total[last - 1] if last else 0.0
    return room[by][:last].sum() + (gap - before) / np.abs(slope[by[last]])


def well_inside(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """Images near mid-grey, moved into their class: far from every boundary, which lies far inside the box."""
    x = 0.5 + (images - 0.5) * 0.2
    weights = classifier.model.layers[-1].get_weights()[0]
    own = weights[:, classifier.predict(x).argmax(-1)] - weights.mean(1, keepdims=True)
    return (x + 0.6 * (own / np.linalg.norm(own, axis=0)).T.reshape(x.shape)).astype(np.float32)


@cache
def toy_data() -> Dataset:
    """Four classes of 8 x 8 images told apart by where they are bright; ten tracks of six frames each."""
    rng = np.random.default_rng(11)

    def draw(labels: np.ndarray) -> np.ndarray:
        x = rng.normal(90, 25, (len(labels), 8, 8, 3))
        for i, label in enumerate(labels):
            row, column = 4 * (label // 2), 4 * (label % 2)
            x[i, row : row + 4, column : column + 4] += 60
        return x.clip(0, 255).astype(np.uint8)

    y_train, y_test = np.repeat(np.arange(4), 60).astype(np.int32), np.repeat(np.arange(4), 20).astype(np.int32)
    group = np.tile(np.repeat(np.arange(10), 6), 4).astype(np.int32)
    return Dataset("toy", draw(y_train), y_train, draw(y_test), y_test, ("a", "b", "c", "d"), group + 100 * y_train)


class Elsewhere(Images):
    """An array that is met as images that need not fit into memory are."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array.shape, array.dtype)
        self.array = array

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.array[rows]
