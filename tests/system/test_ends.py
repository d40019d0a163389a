"""How models end: whatever squashes is cut off, the logits are right, and what cannot be cut is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from advrun import Classifier
from advrun.engine import keras, ops, tf
from advrun.errors import ModelError
from advrun.losses import cross_entropy
from advrun.system.check import check_against_keras
from advrun.system.copies import fresh_copy, full_precision
from advrun.system.ends import ending, logits_model
from advrun.system.modelfile import load_model, save_model

from ..conftest import CLASSES, IMAGE_SHAPE

layers = keras.layers


def network(end) -> keras.Model:
    """The same small network, with another end put on its logits; `end` is a function of the symbolic logits."""
    keras.utils.set_random_seed(0)
    image = keras.Input(IMAGE_SHAPE)
    hidden = layers.Dense(9, activation="tanh")(layers.Flatten()(image))
    return keras.Model(image, end(hidden))


def dense(**settings):
    return layers.Dense(CLASSES, kernel_initializer="random_normal", **settings)


def outputs(model, images) -> np.ndarray:
    return np.asarray(model.predict(images, verbose=0))


ENDINGS = {
    "logits": lambda h: dense()(h),
    "dense softmax": lambda h: dense(activation="softmax")(h),
    "dense sigmoid": lambda h: dense(activation="sigmoid")(h),
    "dense tanh": lambda h: dense(activation="tanh")(h),
    "dense log softmax": lambda h: dense(activation="log_softmax")(h),
    "softmax layer": lambda h: layers.Softmax()(dense()(h)),
    "activation layer": lambda h: layers.Activation("softmax")(dense()(h)),
    "softmax twice": lambda h: layers.Softmax()(dense(activation="softmax")(h)),
    "softmax three times": lambda h: layers.Softmax()(layers.Activation("softmax")(dense(activation="softmax")(h))),
    "sigmoid, then softmax": lambda h: layers.Softmax()(dense(activation="sigmoid")(h)),
    "dropout behind softmax": lambda h: layers.Dropout(0.5, seed=1)(dense(activation="softmax")(h)),
    "linear behind softmax": lambda h: layers.Activation("linear")(layers.Identity()(dense(activation="softmax")(h))),
    "reshape behind sigmoid": lambda h: layers.Reshape((CLASSES,))(layers.Activation("sigmoid")(dense()(h))),
    "flatten behind softmax": lambda h: layers.Flatten()(layers.Softmax()(layers.Reshape((1, 1, CLASSES))(dense()(h)))),
    "rescaled probabilities": lambda h: layers.Rescaling(100.0, 1.0)(dense(activation="softmax")(h)),
    "operation sigmoid": lambda h: ops.sigmoid(dense()(h)),
    "operation softmax": lambda h: ops.softmax(dense()(h), axis=-1),
    "operation log softmax": lambda h: ops.log_softmax(dense()(h)),
    "operation tanh, times 5": lambda h: ops.multiply(ops.tanh(dense()(h)), 5.0),
    "log of softmax": lambda h: ops.log(ops.softmax(dense()(h)) + 1e-7),
    "cast softmax": lambda h: ops.cast(ops.softmax(dense()(h)), "float32"),
    "operation reshape": lambda h: ops.reshape(ops.softmax(dense()(h)), (-1, CLASSES)),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_every_end_gives_the_same_logits(name, images):
    expected = outputs(network(ENDINGS["logits"]), images)
    model = network(ENDINGS[name])
    before, config = outputs(model, images), model.get_config()
    classifier = Classifier(model)
    np.testing.assert_allclose(classifier.predict(images), expected, atol=1e-5)
    check_against_keras(classifier, model, images)
    np.testing.assert_array_equal(outputs(model, images), before)
    assert str(model.get_config()) == str(config)
    assert ending(classifier.model) == "logits"


@pytest.mark.parametrize("name", ["operation sigmoid", "reshape behind sigmoid", "flatten behind softmax", "dense tanh"])
def test_what_was_cut_is_saved_as_logits(name, images, tmp_path):
    cut = logits_model(network(ENDINGS[name]))
    save_model(cut, tmp_path / "system.keras")
    again = load_model(tmp_path / "system.keras")
    assert ending(again) == "logits"
    np.testing.assert_allclose(outputs(again, images), outputs(cut, images), atol=1e-6)


def test_ends_have_names():
    named = {name: ending(network(end)) for name, end in ENDINGS.items()}
    assert named["logits"] == "logits"
    assert named["dense sigmoid"] == named["operation sigmoid"] == named["reshape behind sigmoid"] == "sigmoid"
    assert named["operation tanh, times 5"] == "tanh"
    assert named["operation log softmax"] == "log_softmax"


def test_weights_before_the_end_stay_shared(images):
    model = network(ENDINGS["dense softmax"])
    cut = logits_model(model)
    assert cut.layers[2] is model.layers[2]
    model.layers[2].set_weights([0 * weight for weight in model.layers[2].get_weights()])
    np.testing.assert_allclose(outputs(cut, images), np.tile(model.layers[-1].get_weights()[1], (10, 1)), atol=1e-6)


def test_softmax_inside_a_nested_model(images):
    inner = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Flatten(), layers.Dense(CLASSES, activation="softmax")])
    outer = keras.Input(IMAGE_SHAPE)
    model = keras.Model(outer, inner(layers.Rescaling(1.0)(outer)))
    logits = Classifier(model).predict(images)
    assert np.abs(logits.sum(1) - 1).max() > 0.01
    np.testing.assert_allclose(ops.softmax(logits), outputs(model, images), atol=1e-5)


def test_a_nested_sequential_in_a_functional_model_behind_a_reshape(images):
    head = keras.Sequential([keras.Input((9,)), dense(), layers.Activation("sigmoid"), layers.Reshape((1, CLASSES))])
    model = network(lambda h: layers.Flatten()(head(h)))
    logits = Classifier(model).predict(images)
    np.testing.assert_allclose(ops.sigmoid(logits), outputs(model, images), atol=1e-6)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_one_output_is_a_classifier_of_two_classes(activation, images, tmp_path):
    model, linear = (network(lambda h, end=end: layers.Dense(1, activation=end)(h)) for end in (activation, "linear"))
    weights = [linear.layers[-1].get_weights()[0], -np.median(outputs(linear, images), 0)]  # half of the images are of each class
    for each in (model, linear):
        each.layers[-1].set_weights(weights)
    z = outputs(linear, images)
    classifier = Classifier(model)
    assert classifier.classes == 2
    np.testing.assert_allclose(classifier.predict(images), np.concatenate([0 * z, z], 1), atol=1e-6)
    plain = outputs(model, images)[:, 0] > (0.5 if activation == "sigmoid" else 0)
    assert plain.sum() == 5
    np.testing.assert_array_equal(classifier.predict(images).argmax(1), plain)
    check_against_keras(classifier, model, images)
    save_model(classifier.model, tmp_path / "two.keras")
    np.testing.assert_allclose(Classifier.from_file(tmp_path / "two.keras").predict(images), classifier.predict(images), atol=1e-6)


@pytest.mark.parametrize(("inner", "beneath"), [("softplus", True), ("sigmoid", True), ("tanh", False)])
def test_one_output_keeps_what_shifts_its_zero(inner, beneath, images):
    """sigmoid(sigmoid(z)) is above 1/2 whatever z is; sigmoid(tanh(z)) is where z is above 0."""
    model = network(lambda h: layers.Activation("sigmoid")(layers.Dense(1, activation=inner)(h)))
    classifier = Classifier(model)
    np.testing.assert_array_equal(classifier.predict(images).argmax(1), outputs(model, images)[:, 0] > 0.5)
    squashed = classifier.model.layers[3]
    assert (getattr(squashed.activation, "__name__", "") == inner) is beneath


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_one_linear_output_that_was_trained_as_a_logit(name, images, tmp_path):
    model = network(lambda h: layers.Dense(1)(h))
    model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    z = outputs(model, images)
    classifier = Classifier(model)
    check_against_keras(classifier, model, images)
    model.save(tmp_path / name)
    for each in (classifier, Classifier.from_file(tmp_path / name)):
        np.testing.assert_allclose(each.predict(images), np.concatenate([0 * z, z], 1), atol=1e-6)


def test_a_dictionary_of_one_is_what_is_in_it(images):
    image = keras.Input(IMAGE_SHAPE, name="image")
    z = layers.Dense(3)(layers.Flatten()(image))
    plain = outputs(keras.Model(image, z), images)
    for model in (
        keras.Model({"image": image}, {"class": layers.Softmax()(z)}),
        keras.Model([image], [z]),
        keras.Model(image, {"class": z}),
    ):
        classifier = Classifier(model)
        np.testing.assert_allclose(classifier.predict(images), plain, atol=1e-6)
        if not isinstance(model.input, dict):
            check_against_keras(classifier, model, images)


class Subclassed(keras.Model):
    """A model as tutorials write it: layers made in `__init__`, called in `call`."""

    def __init__(self, end="linear", **settings):
        super().__init__(**settings)
        self.flat, self.out = layers.Flatten(), layers.Dense(3, activation=end)

    def call(self, x, training=False):
        return self.out(self.flat(x))


def test_a_subclassed_model_works_once_it_is_built(images):
    model = Subclassed()
    with pytest.raises(ModelError, match="call it once on a batch"):
        Classifier(model)
    plain = outputs(model, images)
    classifier = Classifier(model)
    np.testing.assert_allclose(classifier.predict(images), plain, atol=1e-6)
    gradient = np.asarray(classifier.gradient(cross_entropy, tf.constant(images), tf.zeros(10, tf.int32)))
    assert (np.abs(gradient).sum((1, 2, 3)) > 0).all()


def test_a_subclassed_model_in_a_functional_one(images):
    image, inner = keras.Input(IMAGE_SHAPE), Subclassed()
    model = keras.Model(image, inner(image))
    np.testing.assert_allclose(Classifier(model).predict(images), outputs(inner, images), atol=1e-6)
    model = keras.Model(image, layers.Softmax()(inner(image)))
    np.testing.assert_allclose(Classifier(model).predict(images), outputs(inner, images), atol=1e-6)


def test_a_subclassed_model_that_needs_numbers_gets_a_true_sentence(images):
    class Eager(Subclassed):
        def call(self, x, training=False):
            return self.out(self.flat(np.asarray(x)))

    model = Eager()
    model(images)
    with pytest.raises(ModelError, match="subclassed and cannot be called on a symbolic image"):
        Classifier(model)


class Normaliser(layers.Layer):
    """A function of one's own, which nobody can see from outside."""

    def __init__(self, function=ops.softmax, **settings):
        super().__init__(**settings)
        self.function = function

    def call(self, x):
        return self.function(x)


REFUSED = {
    "hidden softmax": (lambda h: Normaliser()(dense()(h)), "probabilities"),
    "hidden sigmoid": (lambda h: Normaliser(ops.sigmoid)(dense()(h)), r"squashes its scores into \[0, 1\]"),
    "hidden tanh": (lambda h: Normaliser(ops.tanh)(dense()(h)), r"squashes its scores into \[-1, 1\]"),
    "mean of two softmaxes": (lambda h: layers.Average()([layers.Softmax()(dense()(h)) for _ in range(2)]), "probabilities"),
    "one linear output": (lambda h: layers.Dense(1)(h), "nothing says where class 0 ends"),
    "one softmax output": (lambda h: layers.Dense(1, activation="softmax")(h), "nothing says where class 0 ends"),
    "a shifted sigmoid": (lambda h: ops.subtract(layers.Dense(1, activation="sigmoid")(h), 0.5), "nothing says where class 0 ends"),
    "two outputs": (lambda h: [dense()(h), dense()(h)], "2 outputs"),
    "a map": (lambda h: layers.Reshape((2, 2))(layers.Dense(4)(h)), "expected images"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_logits_is_refused_with_the_reason(name):
    end, reason = REFUSED[name]
    if name in ("hidden sigmoid", "hidden tanh"):  # a body that does not squash, as most do not
        image = keras.Input(IMAGE_SHAPE)
        model = keras.Model(image, end(layers.Dense(9, activation="relu")(layers.Flatten()(image))))
    else:
        model = network(end)
    with pytest.raises(ModelError, match=reason) as caught:
        Classifier(model)
    assert "\n" not in str(caught.value)


def test_a_body_that_squashes_is_no_end(images):
    """Small weights on tanh give scores within [-1, 1] whatever the image; nothing says that they were squashed."""
    model = network(lambda h: layers.Dense(CLASSES, kernel_initializer=keras.initializers.RandomNormal(stddev=0.02))(h))
    np.testing.assert_allclose(Classifier(model).predict(images), outputs(model, images), atol=1e-6)


def test_logits_that_are_never_negative_are_logits(images):
    for end in (
        lambda h: layers.Rescaling(1.0, 1e4)(dense()(h)),
        lambda h: dense(activation="relu", bias_initializer="ones")(h),
        lambda h: layers.Rescaling(1e-3, 1 / CLASSES)(dense()(h)),
    ):
        model = network(end)
        np.testing.assert_allclose(Classifier(model).predict(images), outputs(model, images), rtol=1e-6)
    image = keras.Input((32, 32, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(5, 1, activation="relu")(layers.Conv2D(8, 3, 2, activation="relu")(image)))
    squeeze = keras.Model(image, layers.Softmax()(pooled))
    x = np.random.default_rng(0).random((4, 32, 32, 3), np.float32)
    np.testing.assert_allclose(Classifier(squeeze).predict(x), outputs(keras.Model(image, pooled), x), rtol=1e-5)


@pytest.mark.parametrize("shape", [(None, None, 3), (64, None, 3)])
def test_images_of_any_size(shape):
    image = keras.Input(shape)
    x = image
    for _ in range(4):  # nothing is left of 32 x 32 pixels
        x = layers.Conv2D(4, 3, 2)(x)
    x = layers.MaxPooling2D(2)(x)
    model = keras.Model(image, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    assert Classifier(model).classes == 3


def test_models_with_preprocessing_layers(images, tmp_path):
    normal = layers.Normalization()
    normal.adapt(images)
    body = [layers.Rescaling(2.0, -1.0), normal, layers.Resizing(8, 8), layers.RandomFlip(), layers.RandomRotation(0.1)]
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), *body, layers.Flatten(), layers.Dense(3, activation="softmax")])
    logits = Classifier(model).predict(images)
    np.testing.assert_allclose(ops.softmax(logits), outputs(model, images), atol=1e-5)
    save_model(logits_model(model), tmp_path / "m.keras")
    np.testing.assert_allclose(Classifier.from_file(tmp_path / "m.keras").predict(images), logits, atol=1e-5)


def test_a_fresh_copy_keeps_what_is_not_trained(images):
    keras.utils.set_random_seed(1)
    normal = layers.Normalization()
    normal.adapt(images)
    frozen = layers.Conv2D(2, 3, trainable=False)
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), normal, frozen, layers.Flatten(), layers.Dense(3)])
    copy = fresh_copy(model)
    for index in (0, 1):
        for old, new in zip(model.layers[index].get_weights(), copy.layers[index].get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    assert (model.layers[-1].get_weights()[0] != copy.layers[-1].get_weights()[0]).all()


def test_a_fresh_copy_of_what_was_cut(images):
    """Operations and two logits made of one are copied as layers are: adversarial training begins so."""
    for end in (lambda h: layers.Dense(1, activation="sigmoid")(h), lambda h: ops.sigmoid(ops.multiply(dense()(h), 2.0))):
        cut = logits_model(network(end))
        assert outputs(fresh_copy(cut), images).shape == outputs(cut, images).shape


def test_half_precision_models_are_attacked_in_full(images):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        outer = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Flatten(), layers.Dense(CLASSES, dtype="float32")])
        inputs = keras.Input(IMAGE_SHAPE)
        z = outer(layers.Conv2D(3, 3, padding="same")(inputs))
        model = keras.Model(inputs, z)
        ends = keras.Model(inputs, layers.Activation("softmax", dtype="float32")(layers.Dense(3)(z)))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    full = full_precision(model)
    assert {layer.compute_dtype for layer in full._flatten_layers(include_self=False)} == {"float32"}
    np.testing.assert_allclose(full.predict(images, verbose=0), model.predict(images, verbose=0), atol=0.02)
    cut = full_precision(logits_model(ends))
    assert cut.outputs[0].dtype == "float32"
    np.testing.assert_allclose(ops.softmax(outputs(cut, images)), outputs(ends, images), atol=0.02)


@pytest.mark.parametrize(("function", "ends"), [(lambda h: 2 / (1 + ops.exp(-h)), "[0, 2]"), (lambda h: ops.tanh(h) * 10 + 3, "[-7, 13]")])
def test_an_own_squashing_into_any_range_is_refused(function, ends):
    image = keras.Input(IMAGE_SHAPE)
    scores = layers.Dense(5, name="scores")(layers.Flatten()(image))
    with pytest.raises(ModelError, match=re.escape(f"squashes its scores into {ends} by")):
        logits_model(keras.Model(image, Normaliser(function)(scores)))


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("function", ["relu", "tanh", "sigmoid", "relu6"])
def test_a_body_that_saturates_is_no_squashing(function, classes):
    for seed in range(5):
        keras.utils.set_random_seed(seed)
        body = [keras.Input(IMAGE_SHAPE), layers.Flatten(), layers.Dense(6, activation=function), layers.Dense(classes)]
        model = keras.Sequential(body)
        assert logits_model(model) is model
