"""The other architectures: published sizes, preprocessing that is Keras' own, weights that are there or not."""

from __future__ import annotations

import urllib.request

import numpy as np
import pytest

from advrun import Classifier, registry
from advrun.config import loads
from advrun.engine import keras
from advrun.errors import ConfigError, ModelError
from advrun.models.keras_application import _builder, _values, keras_application
from advrun.models.resnet import resnet
from advrun.runs import opened
from advrun.runs.needs import is_trained
from advrun.runs.plan import make_plan
from advrun.system.inputs import ModelInput, preparation


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), pytest.param(56, 0.85, marks=pytest.mark.slow)])
def test_resnet_has_the_published_number_of_weights(depth, millions):
    """Table 6 of the paper."""
    model = resnet((32, 32, 3), 10, depth=depth)
    assert model.count_params() / 1e6 == pytest.approx(millions, abs=0.01)
    layers = [layer for layer in model.layers if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))]
    assert len(layers) == depth


def test_shortcuts_take_every_second_pixel_and_fill_up_with_zeros():
    """A block whose residual is nothing, because its last normalisation scales by 0, is its shortcut behind a ReLU."""
    model = resnet((8, 8, 3), 4, depth=8)
    add = next(layer for layer in model.layers if isinstance(layer, keras.layers.Add) and layer.output.shape[1] == 4)
    change, shortcut = add.input
    before = next(layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D))
    probe = keras.Model(model.inputs[0], [before.input, shortcut, change])
    x, short, _ = (np.asarray(each) for each in probe(np.random.default_rng(0).random((2, 8, 8, 3), np.float32)))
    np.testing.assert_array_equal(short[..., :16], x[:, ::2, ::2])
    assert short.shape[-1] == 32
    assert not short[..., 16:].any()


@pytest.mark.parametrize("architecture", ["MobileNetV2", "ResNet50", "DenseNet121", "EfficientNetB0"])
def test_preprocessing_is_that_of_keras(architecture):
    """As layers in front of the network, on pixels from 0 to 1."""
    import sys

    build = _builder(architecture)
    anything = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Identity()])
    x = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.float32)
    ours = x / 255
    for layer in preparation(anything, ModelInput(**_values(build)), (8, 8, 3)):
        ours = layer(ours)
    theirs = sys.modules[build.__module__].preprocess_input(x.copy())
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * max(1, np.abs(theirs).max()))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights of a MobileNet that knows four classes."""
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    network = keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3), classes=4, classifier_activation=None)
    network.save_weights(path)
    return path, network


def test_a_file_of_weights_comes_trained_behind_its_preprocessing(weights, toy_data):
    """Images of another size are resized by a layer; bytes of the file are in the key, and where it is missing one line says so."""
    path, network = weights
    entry = f"{{name: keras_application, architecture: MobileNet, weights: {path}, size: 32, outputs: 4}}"
    experiment = loads(f"models: [{entry}]")
    assert not is_trained(experiment.models[0])
    model = opened.open_model(experiment.models[0])
    system = Classifier(model.system((8, 8, 3)))
    assert (system.image_shape, system.classes) == ((8, 8, 3), 4)
    resized = keras.layers.Resizing(32, 32)(toy_data.x_test[:3] / np.float32(255))
    np.testing.assert_allclose(system.predict(toy_data.x_test[:3]), network(2 * resized - 1, training=False), atol=1e-4)
    before = [cell.key for cell in make_plan(experiment, toy_data).cells]
    path.write_bytes(path.read_bytes() + b" ")
    assert before != [cell.key for cell in make_plan(experiment, toy_data).cells]
    with pytest.raises(ModelError, match=r"keras_application.weights: no such file: /nowhere"):
        make_plan(loads("models: [{name: keras_application, architecture: MobileNet, weights: /nowhere}]"), toy_data)


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "outputs"), [("MobileNet", 7), ("MobileNetV2", 4)])
def test_a_file_of_other_weights_is_refused(weights, architecture, outputs):
    """Of other classes, or of another architecture: no layer silently keeps its random weights."""
    path, _ = weights
    with pytest.raises(ModelError, match=f"{path}: no weights of {architecture} for {outputs} classes .*; set outputs, or another file"):
        keras_application(architecture=architecture, weights=str(path), size=32, outputs=outputs)


def test_random_weights_are_trained_for_the_images_that_there_are(toy_data):
    """Grey ones are shown to three channels, small ones resized; averages move fast enough for a short training."""
    experiment = loads("models: [{name: keras_application, architecture: MobileNet, weights: random, train: {epochs: 2}}]")
    (entry,) = experiment.models
    assert is_trained(entry)
    assert entry.train.epochs == 2
    model = registry.get("models", entry.name).function((28, 28, 1), 4, **entry.settings)
    assert (model.input_shape, model.output_shape) == ((None, 28, 28, 1), (None, 4))
    inner = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    assert inner.input_shape == (None, 64, 64, 3)
    assert {layer.momentum for layer in inner.layers if isinstance(layer, keras.layers.BatchNormalization)} == {0.9}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"architecture": "MobilNet"}, "no architecture 'MobilNet'; did you mean 'MobileNet'"),
        ({"architecture": "MobileNet", "size": 8}, "cannot be built for images of 32 x 32 (.*at least 32x32.*); set another size"),
    ],
)
def test_what_cannot_be_built_is_said(settings, said):
    with pytest.raises(ConfigError, match=said.replace("(", r"\(").replace(")", r"\)")):
        keras_application((32, 32, 3), 4, weights="random", **settings)


def test_weights_of_imagenet_without_a_network_are_one_line(monkeypatch, tmp_path, capsys):
    """Whatever the machine has: its proxy is a port where nobody listens, its cache is empty."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    with pytest.raises(ModelError, match=r"the ImageNet weights of MobileNet cannot be had .*; download the file") as refused:
        keras_application(architecture="MobileNet")
    assert "\n" not in str(refused.value)
    assert not capsys.readouterr().out
