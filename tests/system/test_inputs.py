"""Said in YAML or in Python, what a model expects gives the accuracy that plain Keras has under its author's preparation."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from advrun import Classifier
from advrun.config.mappings import from_mapping
from advrun.engine import keras, tf
from advrun.errors import AdvrunError, ConfigError, ModelError
from advrun.losses import cross_entropy
from advrun.system.foreign import Foreign
from advrun.system.inputs import ModelInput, adapted, class_order
from advrun.system.modelfile import save_model

layers = keras.layers
SIDE, CLASSES = 12, 12
CAFFE = np.float32([103.939, 116.779, 123.68])


def network(shape=(SIDE, SIDE, 3), scale=1.0, **first) -> keras.Model:
    """A network with random weights, whose answers depend on everything; `scale` is about that of its pixels."""
    keras.utils.set_random_seed(4)
    body = [layers.Conv2D(6, 3, activation="tanh", **first), layers.Flatten(), layers.Dense(CLASSES, activation="softmax")]
    model = keras.Sequential([keras.Input(shape), *body], name="network")
    kernel, bias = model.layers[0].get_weights()
    model.layers[0].set_weights([kernel / scale, bias])
    return model


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (40, SIDE, SIDE, 3)).astype(np.uint8)


def resized(x: np.ndarray, side: int) -> np.ndarray:
    """As Pillow does it, in float: bilinear, and without smoothing only where images grow."""
    sides = [[Image.fromarray(plane).resize((side, side), Image.Resampling.BILINEAR) for plane in np.moveaxis(each, 2, 0)] for each in x]
    return np.stack([np.stack([np.asarray(plane) for plane in planes], -1) for planes in sides])


def grey(unit: np.ndarray) -> np.ndarray:
    return (unit @ np.float32([0.299, 0.587, 0.114]))[..., None]


PREPARED = {
    "bgr": ({"channels": "bgr"}, lambda u: u[..., ::-1], {}),
    "255": ({"scale": 255}, lambda u: 255 * u, {"scale": 255}),
    "-1 to 1": ({"mean": 0.5, "std": 0.5}, lambda u: 2 * u - 1, {}),
    "bgr and 255": ({"channels": "bgr", "scale": 255}, lambda u: 255 * u[..., ::-1], {"scale": 255}),
    "caffe": ({"channels": "bgr", "scale": 255, "mean": [103.939, 116.779, 123.68]}, lambda u: 255 * u[..., ::-1] - CAFFE, {"scale": 255}),
    "per channel": (
        {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)},
        lambda u: (u - np.float32([0.1, 0.2, 0.3])) / np.float32([0.4, 0.5, 0.6]),
        {},
    ),
    "each image": ({"standardize": True}, lambda u: tf.image.per_image_standardization(u).numpy(), {}),
    "grey": ({"channels": "gray"}, grey, {"shape": (SIDE, SIDE, 1)}),
    "grey thrice": ({"channels": "gray"}, lambda u: np.repeat(grey(u), 3, -1), {}),
    "larger": ({"size": 17}, lambda u: resized(u, 17), {"shape": (17, 17, 3)}),
    "all at once": (
        {"size": [17, 17], "channels": "bgr", "scale": 255, "mean": 127.5, "std": 2},
        lambda u: (255 * resized(u, 17)[..., ::-1] - 127.5) / 2,
        {"shape": (17, 17, 3), "scale": 64},
    ),
}


@pytest.mark.parametrize("case", PREPARED)
def test_the_answers_are_those_of_plain_keras_under_the_authors_preparation(case, images, tmp_path):
    expects, prepare, built = PREPARED[case]
    model, unit = network(**built), images / np.float32(255)
    expected = model.predict(prepare(unit), verbose=0)
    assert len(set(expected.argmax(-1))) > 1  # the answers depend on the image
    classifier = Classifier(model, input=expects, image_shape=(SIDE, SIDE, 3))
    assert classifier.image_shape == (SIDE, SIDE, 3)
    np.testing.assert_allclose(keras.ops.softmax(classifier.predict(images)), expected, atol=2e-5)
    save_model(classifier.model, tmp_path / "saved.keras")
    saved = keras.models.load_model(tmp_path / "saved.keras", safe_mode=True)
    np.testing.assert_allclose(saved.predict(unit, verbose=0), classifier.predict(images), atol=1e-5)


@pytest.mark.parametrize("case", PREPARED)
def test_gradients_are_those_of_the_image(case, images):
    """The slope of the loss along a direction, by differences."""
    expects, _, built = PREPARED[case]
    classifier = Classifier(network(**built), input=expects, image_shape=(SIDE, SIDE, 3))
    x = (images[:4] / np.float32(255)).clip(0.1, 0.9)
    y = np.arange(4, dtype=np.int32)
    along = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    step = 1e-2 / np.abs(along).max()
    losses = [np.asarray(cross_entropy(classifier.forward(tf.constant(x + sign * step * along)), y)) for sign in (1, -1)]
    slope = (np.asarray(classifier.gradient(cross_entropy, tf.constant(x), tf.constant(y))) * along).sum((1, 2, 3))
    np.testing.assert_allclose((losses[0] - losses[1]) / (2 * step), slope, rtol=0.05, atol=0.02)


def channels_first() -> tuple[keras.Model, keras.Model]:
    """The same network channels first and channels last, with everything that has a place for channels."""

    def build(order: str) -> keras.Model:
        keras.utils.set_random_seed(7)
        axis, data_format = (1, "channels_first") if order == "first" else (3, "channels_last")
        x = inputs = keras.Input((3, SIDE, SIDE) if order == "first" else (SIDE, SIDE, 3))
        x = layers.ZeroPadding2D(1, data_format=data_format)(x)
        x = shortcut = layers.Conv2D(5, 3, activation="relu", data_format=data_format)(x)
        x = layers.BatchNormalization(axis=axis)(x)
        x = layers.Add()([x, shortcut])
        x = layers.MaxPooling2D(data_format=data_format)(x)
        x = layers.Concatenate(axis=axis)([x, x])
        x = layers.SeparableConv2D(4, 3, data_format=data_format)(x)
        x = layers.GlobalAveragePooling2D(data_format=data_format)(x)
        return keras.Model(inputs, layers.Dense(4)(x))

    first, last = build("first"), build("last")
    last.set_weights(first.get_weights())
    return first, last


@pytest.mark.parametrize("expects", [None, {"channels": "first"}, {"channels": "bgr", "scale": 255}])
def test_models_with_channels_first_run_on_any_device(expects, images):
    first, last = channels_first()
    like = None if expects == {"channels": "first"} else expects
    np.testing.assert_allclose(Classifier(first, input=expects).predict(images), Classifier(last, input=like).predict(images), atol=1e-4)
    with pytest.raises(ModelError, match="channels last; leave it out"):
        Classifier(last, input={"channels": "first"})


def test_a_channels_first_flatten_keeps_its_order(images):
    kernel_first = keras.Sequential(
        [keras.Input((3, SIDE, SIDE)), layers.Conv2D(2, 3, data_format="channels_first"), layers.Flatten(), layers.Dense(3)]
    )
    kernel, bias, dense, offset = kernel_first.get_weights()
    hidden = keras.ops.convert_to_numpy(keras.ops.conv(images / np.float32(255), kernel)) + bias
    expected = hidden.transpose(0, 3, 1, 2).reshape(len(images), -1) @ dense + offset
    np.testing.assert_allclose(Classifier(kernel_first).predict(images), expected, atol=1e-4)


@pytest.mark.parametrize("classes", ["alphabetical", [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]])
def test_answers_come_in_the_order_of_class_numbers(classes, images):
    model = network()
    expected = model.predict(images / np.float32(255), verbose=0)
    ordered = Classifier(model, classes=classes)
    answers = np.asarray([0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9])[expected.argmax(-1)]
    np.testing.assert_array_equal(ordered.predict(images).argmax(-1), answers)
    assert ordered.accuracy(images, answers) == 1


def test_an_order_by_names():
    assert class_order(("stop", "go", "wait"), 3, ("go", "stop", "wait")) == (1, 0, 2)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"input": {"chanels": "bgr"}}, "input.chanels: unknown setting 'chanels' of this mapping; did you mean 'channels'"),
        ({"input": {"size": [1, 2, 3]}}, "size has 3 numbers"),
        ({"input": {"size": 30}}, "takes images of 12 x 12"),
        ({"input": {"scale": 0}}, "input.scale: got 0; expected a number > 0"),
        ({"input": {"standardize": True, "mean": 0.5}}, "leave mean and std out"),
        ({"input": {"mean": [1, 2]}}, "input.mean has 2 numbers, but model 'network' takes 3 channels"),
        ({"input": 3}, "expected a mapping"),
        ({"classes": [0, 1]}, "classes lists 2 of the model's 12 classes"),
        ({"classes": [0] * 12}, "classes lists 1 of the model's 12 classes"),
        ({"classes": ["stop"]}, "'stop' is none of the model's 12 classes"),
        ({"classes": "natural"}, "expected 'alphabetical'"),
    ],
)
def test_what_says_nothing_sensible_is_refused_in_one_line(given, reason):
    with pytest.raises(AdvrunError) as refused:
        Classifier(network(), **given)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_mapping_in_words_is_what_it_was_read_from():
    assert str(from_mapping(ModelInput, {"channels": "bgr", "scale": 255, "mean": [1.5, 2, 3]}, "input")) == (
        "{channels: bgr, scale: 255, mean: [1.5, 2.0, 3.0]}"
    )
    with pytest.raises(ConfigError, match="got 'wide'"):
        from_mapping(ModelInput, {"size": "wide"}, "input")


def test_nothing_is_put_before_a_model_that_expects_nothing():
    model = network()
    assert adapted(model, ModelInput()) is model
    assert adapted(model, ModelInput(), (SIDE, SIDE, 3)) is model


@pytest.mark.parametrize(("shape", "images_of"), [((9, 7), (9, 7, 1)), ((81,), (9, 9, 1)), ((75,), (5, 5, 3))])
def test_grey_images_without_a_channel_and_rows_of_pixels_are_images(shape, images_of):
    body = [layers.Flatten(), layers.Dense(5, activation="softmax")]
    model = keras.Sequential([keras.Input(shape), *body])
    x = np.random.default_rng(0).random((6, *images_of), np.float32)
    classifier = Classifier(model)
    assert classifier.image_shape == images_of
    expected = model.predict(x.reshape(6, *shape), verbose=0)
    logits = classifier.predict(x)
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), expected, atol=1e-5)
    assert Foreign(model).takes(images_of)


def test_a_logit_stays_one_behind_a_reshape():
    model = keras.Sequential([keras.Input((16,)), layers.Dense(1)])
    model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    assert Classifier(model).classes == 2


def test_a_row_of_no_square_image_is_refused():
    with pytest.raises(ModelError, match=r"here: model 'row' takes 80 numbers in a row, which are no square image.*Reshape"):
        Foreign(keras.Sequential([keras.Input((80,)), layers.Dense(5)], name="row"), place="here")
