"""Model files that somebody else wrote: read right whatever their name and age, or refused in one line; nothing in them runs."""

from __future__ import annotations

import json
import os
import pickle
import resource
import zipfile

import h5py
import numpy as np
import pytest

from advrun import Classifier
from advrun.engine import keras, ops
from advrun.errors import ModelError
from advrun.system.modelfile import load_model, save_model
from advrun.system.repair import repaired

from ..conftest import CLASSES, IMAGE_SHAPE

layers = keras.layers


def body(*more) -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input(IMAGE_SHAPE), *more, layers.Flatten(), layers.Dense(CLASSES, activation="softmax")])


def predicted(model, images) -> np.ndarray:
    return np.asarray(model.predict(images, verbose=0))


def edit_hdf5(path, change, version=None) -> None:
    """Change the configuration inside an HDF5 model, and the version that is said to have written it."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(change(config) or config)
        if version is not None:
            file.attrs["keras_version"] = version
            file["model_weights"].attrs["keras_version"] = version


def edit_keras(path, change, version) -> None:
    """Change the configuration inside a .keras file, and the version that is said to have written it."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    content["config.json"] = json.dumps(change(config) or config).encode()
    content["metadata.json"] = json.dumps({"keras_version": version, "date_saved": ""}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def refusal(path) -> str:
    """The sentence with which a file is refused: one line, with its path once."""
    with pytest.raises(ModelError) as caught:
        Classifier.from_file(path)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 600
    assert said.count(str(path)) == 1
    return said


# Files that are read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["model.keras", "model.h5"])
@pytest.mark.parametrize("called", ["model.keras", "model.h5", "model.hdf5", "model.model", "model"])
def test_the_content_says_what_a_file_is_and_not_its_name(written, called, images, tmp_path):
    model = body()
    model.save(tmp_path / written)
    os.rename(tmp_path / written, tmp_path / called)
    np.testing.assert_allclose(predicted(load_model(tmp_path / called), images), predicted(model, images), atol=1e-6)


def without_input_layer(config):
    """What tf.keras 1.13 to 2.2 wrote."""
    first, *rest = config["config"]["layers"]
    rest = [{key: layer[key] for key in ("class_name", "config")} for layer in rest]
    for layer in rest:
        layer["config"] = {key: value for key, value in layer["config"].items() if not isinstance(value, dict)} | {"dtype": "float32"}
    rest[0]["config"]["batch_input_shape"] = first["config"]["batch_shape"]
    return {"class_name": "Sequential", "config": {"name": "sequential", "layers": rest}}


def as_a_list(config):
    """What Keras 2.0 to 2.2.2 wrote."""
    return {"class_name": "Sequential", "config": without_input_layer(config)["config"]["layers"]}


@pytest.mark.parametrize(("change", "version"), [(without_input_layer, "2.2.4-tf"), (as_a_list, "2.1.6")])
def test_sequential_files_before_2020(change, version, images, tmp_path):
    model = body(layers.Conv2D(3, 3), layers.MaxPooling2D())
    model.save(tmp_path / "old.h5")
    edit_hdf5(tmp_path / "old.h5", change, version)
    np.testing.assert_allclose(predicted(load_model(tmp_path / "old.h5"), images), predicted(model, images), atol=1e-6)


def lost_arguments(config):
    for layer in config["config"]["layers"]:
        if "Conv2D" in layer["class_name"]:
            layer["config"] |= {
                "groups": 1,
                "kernel_initializer": {"class_name": "GlorotUniform", "config": {}},
                "kernel_regularizer": None,
            }
        if layer["class_name"] == "BatchNormalization":
            layer["class_name"] = "BatchNormalizationV1"
            layer["config"] |= {
                "virtual_batch_size": None,
                "fused": None,
                "beta_initializer": {"class_name": "Zeros", "config": {"dtype": "float32"}},
            }
        layer["config"]["dtype"] = {"class_name": "Policy", "config": {"name": "float32"}}


def test_layers_of_mobilenets_with_the_arguments_of_keras_2(images, tmp_path):
    model = body(layers.DepthwiseConv2D(3), layers.BatchNormalization(), layers.SeparableConv2D(4, 3), layers.SpatialDropout2D(0.2))
    model.layers[1].set_weights([np.random.default_rng(i).random(3) + 0.5 for i in range(4)])
    model.save(tmp_path / "old.h5")
    edit_hdf5(tmp_path / "old.h5", lost_arguments, "2.11.0")
    np.testing.assert_allclose(predicted(load_model(tmp_path / "old.h5"), images), predicted(model, images), atol=1e-6)


def as_keras_2(config):
    """A configuration of Keras 3 as Keras 2 writes it: calls as lists, a nested model counted from 1, one output in a list, no modules."""
    is_model = isinstance(config["config"], dict) and "layers" in config["config"]
    config = {key: value for key, value in config.items() if key not in ("module", "registered_name", "build_config")}
    if not is_model:
        config["config"] = {key: value for key, value in config["config"].items() if not isinstance(value, dict)} | {"dtype": "float32"}
        if "batch_shape" in config["config"]:
            config["config"]["batch_input_shape"] = config["config"].pop("batch_shape")
        return config
    inner = config["config"]["layers"] = [as_keras_2(layer) for layer in config["config"]["layers"]]
    nested = {layer["name"] for layer in inner if "layers" in layer["config"] and "name" in layer}
    for layer in inner:
        calls = []
        for node in layer.get("inbound_nodes", []):
            tensors = node["args"] if isinstance(node["args"][0], dict) else node["args"][0]
            histories = [tensor["config"]["keras_history"] for tensor in tensors]
            calls.append([[name, call + (name in nested), output, {}] for name, call, output in histories])
        if "inbound_nodes" in layer:
            layer["inbound_nodes"] = calls
    for key in ("input_layers", "output_layers"):
        if key in config["config"]:
            config["config"][key] = [config["config"][key]]
    return config


def functional_base():
    image = keras.Input(IMAGE_SHAPE)
    hidden = layers.Conv2D(3, 3, padding="same")(image)
    return keras.Model(image, layers.Add()([hidden, image]), name="base")


def transfer_learning():
    image = keras.Input(IMAGE_SHAPE)
    base, extra = functional_base(), keras.Sequential([keras.Input(IMAGE_SHAPE), layers.ReLU()], name="extra")
    return keras.Model(image, layers.Dense(CLASSES, activation="softmax")(layers.Flatten()(base(extra(base(image))))))


NESTED = {
    "functional in functional": transfer_learning,
    "functional in sequential": lambda: body(functional_base()),
    "sequential in sequential": lambda: body(keras.Sequential([keras.Input(IMAGE_SHAPE), functional_base(), layers.ReLU()])),
}


@pytest.mark.parametrize("name", NESTED)
def test_nested_models_of_keras_2(name, images, tmp_path):
    keras.utils.set_random_seed(0)
    model = NESTED[name]()
    model.save(tmp_path / "old.h5")
    edit_hdf5(tmp_path / "old.h5", as_keras_2, "2.9.0")
    np.testing.assert_allclose(predicted(load_model(tmp_path / "old.h5"), images), predicted(model, images), atol=1e-6)


def without_first_input(config):
    config = as_keras_2(config)
    del config["config"]["layers"][0]
    return config


def test_a_sequential_model_that_begins_with_another(images, tmp_path):
    model = body(functional_base())
    model.save(tmp_path / "old.h5")
    edit_hdf5(tmp_path / "old.h5", without_first_input, "2.4.0")
    np.testing.assert_allclose(predicted(load_model(tmp_path / "old.h5"), images), predicted(model, images), atol=1e-6)


def modules_of_keras_2(config):
    config["module"] = "keras.src.engine.functional" if config["class_name"] == "Functional" else "keras.src.engine.sequential"
    for layer in config["config"]["layers"]:
        settings = layer["config"]
        if layer["class_name"] == "InputLayer":
            settings["batch_input_shape"] = settings.pop("batch_shape")
        else:
            settings["batch_input_shape"] = [None, *IMAGE_SHAPE]
        settings["dtype"] = {
            "module": "keras.mixed_precision",
            "class_name": "Policy",
            "config": {"name": "float32"},
            "registered_name": None,
        }


@pytest.mark.parametrize("make", [lambda: body(layers.Conv2D(3, 3)), functional_base])
def test_keras_files_of_keras_2(make, images, tmp_path):
    model = make()
    model.save(tmp_path / "old.keras")
    edit_keras(tmp_path / "old.keras", modules_of_keras_2, "2.13.1")
    np.testing.assert_allclose(predicted(load_model(tmp_path / "old.keras"), images), predicted(model, images), atol=1e-6)


def test_tensorflow_functions_of_a_number(images, tmp_path):
    """`x * 255 / 127.5 - 1` in front of a network, as TensorFlow 2 writes it."""
    image = keras.Input(IMAGE_SHAPE)
    scaled = layers.Rescaling(1.0, -1.0, name="c")(layers.Rescaling(1 / 127.5, name="b")(layers.Rescaling(255.0, name="a")(image)))
    model = keras.Model(image, layers.Dense(CLASSES)(layers.Flatten()(scaled)))
    functions = {"a": ("math.multiply", 255.0), "b": ("math.truediv", 127.5), "c": ("math.subtract", 1)}

    def change(config):
        config = as_keras_2(config)
        for layer in config["config"]["layers"]:
            if layer["name"] in functions:
                function, y = functions[layer["name"]]
                layer["class_name"], layer["config"] = "TFOpLambda", {"name": layer["name"], "trainable": True, "function": function}
                layer["inbound_nodes"] = [[*layer["inbound_nodes"][0][0][:3], {"y": y, "name": None}]]
        return config

    model.save(tmp_path / "old.h5")
    edit_hdf5(tmp_path / "old.h5", change, "2.8.0")
    np.testing.assert_allclose(predicted(load_model(tmp_path / "old.h5"), images), predicted(model, images), atol=1e-5)


@pytest.mark.parametrize(
    "make", [body, transfer_learning, lambda: body(layers.Normalization(), layers.RandomFlip(), layers.SeparableConv2D(2, 3))]
)
def test_what_keras_3_wrote_is_not_touched(make, tmp_path):
    make().save(tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "new.keras") as archive:
        config = json.loads(archive.read("config.json"))
    assert repaired(config) == config


def test_operations_keep_their_class(tmp_path):
    """`keras.ops.reshape` is an operation that is called as a layer is."""
    image = keras.Input(IMAGE_SHAPE)
    model = keras.Model(image, ops.reshape(layers.Dense(2)(image), (-1, 72)))
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        config = json.loads(archive.read("config.json"))
    assert repaired(config) == config
    assert load_model(tmp_path / "m.keras").output_shape == (None, 72)


# Files that are refused ----------------------------------------------------------------------------------------------


CONTENTS = {
    "empty": (b"", "empty"),
    "text": (b"my model\n", "no Keras model"),
    "web page": (b"<!DOCTYPE html><html>", "web page"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "TFLite": (b"\x1c\x00\x00\x00TFL3" + bytes(40), "TFLite"),
    "pickle": (pickle.dumps({"weights": [1.0]}), "pickle"),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x051.13", "ONNX"),
    "JSON": (b'{"class_name": "Sequential"}', "architecture without its weights"),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), "gzip"),
    "cut HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "damaged"),
    "cut zip": (b"PK\x03\x04" + bytes(100), "ends too early"),
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("ending", [".h5", ".keras", ".bin"])
def test_what_is_no_model_is_named(name, ending, tmp_path):
    content, word = CONTENTS[name]
    (tmp_path / f"file{ending}").write_bytes(content)
    if ending == ".bin" or name not in ("text",):
        assert word in refusal(tmp_path / f"file{ending}")
    else:
        assert "damaged, or no model" in refusal(tmp_path / f"file{ending}")


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({"archive/data.pkl": b"", "archive/version": b"3"}, "PyTorch"),
        ({"arr_0.npy": b""}, "arrays"),
        ({"m/saved_model.pb": b""}, "SavedModel"),
        ({"my/model.h5": b""}, "unpack it"),
        ({"model.weights.h5": b"", "metadata.json": b"{}"}, "weights only"),
        ({"config.json": b"{}"}, "model.weights.h5"),
        ({"config.json": b"[1]", "model.weights.h5": b""}, "no Keras model"),
        ({"config.json": b"{", "model.weights.h5": b""}, "damaged"),
    ],
)
def test_zip_archives_that_are_no_models(members, word, tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert word in refusal(tmp_path / "m.keras")


def test_folders_are_named(tmp_path):
    assert "no such model file" in refusal(tmp_path / "absent.keras")
    body().export(tmp_path / "saved", verbose=False)
    assert "SavedModel folder" in refusal(tmp_path / "saved")
    (tmp_path / "folder").mkdir()
    assert "a folder" in refusal(tmp_path / "folder")
    body().save(tmp_path / "folder/m.keras")
    assert "name the file in it: m.keras" in refusal(tmp_path / "folder")


def test_weights_without_an_architecture(tmp_path):
    model = body()
    model.save_weights(tmp_path / "w.weights.h5")
    assert "weights only" in refusal(tmp_path / "w.weights.h5")
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as whole, h5py.File(tmp_path / "old.h5", "w") as file:  # as Keras 2 writes weights
        for name, value in whole["model_weights"].attrs.items():
            file.attrs[name] = value
        for name in whole["model_weights"]:
            whole.copy(f"model_weights/{name}", file)
    assert "weights only" in refusal(tmp_path / "old.h5")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x_test"] = np.zeros(3)
    assert "HDF5 without a model" in refusal(tmp_path / "data.h5")


def test_keras_1_is_named_with_the_way_out(tmp_path):
    body().save(tmp_path / "m.h5")
    edit_hdf5(tmp_path / "m.h5", as_a_list, "1.2.0")
    said = refusal(tmp_path / "m.h5")
    assert "written by Keras 1.2.0" in said
    assert "keras==2.2.5" in said


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_code_in_a_model_file_is_not_run(ending, tmp_path):
    body(layers.Lambda(lambda x: x * 2)).save(tmp_path / f"lambda{ending}")
    assert "Lambda" in refusal(tmp_path / f"lambda{ending}")


@keras.saving.register_keras_serializable("mine")
class Doubled(layers.Layer):
    """A layer of one's own."""

    def call(self, x):
        return 2 * x


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_layer_of_ones_own_is_named_with_the_place_for_it(ending, images, tmp_path):
    model = body(Doubled())
    path = tmp_path / f"own{ending}"
    model.save(path)
    np.testing.assert_allclose(predicted(load_model(path), images), predicted(model, images), atol=1e-6)
    registered = keras.saving.get_custom_objects()
    saved = dict(registered)
    registered.clear()
    try:
        said = refusal(path)
    finally:
        registered.update(saved)
    assert "'Doubled' is no layer of Keras" in said
    assert '@keras.saving.register_keras_serializable("mine")' in said
    assert "--plugins FOLDER" in said


def test_the_last_line_of_keras_and_the_version_are_said(tmp_path):
    body().save(tmp_path / "m.h5")

    def change(config):
        config["config"]["layers"][-1]["config"]["colour"] = "red"

    edit_hdf5(tmp_path / "m.h5", change, "2.15.0")
    said = refusal(tmp_path / "m.h5")
    assert "written by Keras 2.15.0" in said
    assert "Unrecognized keyword arguments passed to Dense: {'colour': 'red'}" in said


def test_a_system_that_could_not_be_loaded_again_is_refused_when_it_is_saved(tmp_path):
    class Local(layers.Layer):
        def call(self, x):
            return x

    with pytest.raises(ModelError, match=r"'sequential.*' could not be loaded again: 'Local' is no layer of Keras"):
        save_model(body(Local()), tmp_path / "m.keras")

    @keras.saving.register_keras_serializable("test")
    class Forgetful(layers.Layer):
        def __init__(self, factor=1.0, **settings):
            super().__init__(**settings)
            self.factor = factor

        def call(self, x):
            return self.factor * x

    layer = Forgetful()
    layer.factor = 9.0
    with pytest.raises(ModelError, match="gives other outputs when it is loaded again"):
        save_model(body(layer), tmp_path / "m.keras")


def test_saved_files_have_the_same_bytes_for_the_same_model(tmp_path):
    for name in ("a", "b"):
        keras.utils.clear_session()
        save_model(body(), tmp_path / f"{name}.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    Classifier.from_file(tmp_path / "a.keras")


# Hostile files -------------------------------------------------------------------------------------------------------


def claims_weights(path):
    """A few kilobytes of HDF5 whose weights would be 1 GB."""
    body().save(path)
    with h5py.File(path, "r+") as file:
        place = next(name for name in walk(file["model_weights"]) if name.endswith("kernel"))
        del file["model_weights"][place]
        file["model_weights"].create_dataset(place, (2**28,), np.float32, chunks=(2**20,), compression="gzip")
    return "claims 1.1 GB"


def walk(group):
    names = []
    group.visit(names.append)
    return names


def claims_zip(path):
    """A zip archive that unpacks to 300 MB of zeros."""
    body().save(path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            if name != "model.weights.h5":
                archive.writestr(name, data)
        with archive.open("model.weights.h5", "w") as file:
            file.write(content["model.weights.h5"])
            for _ in range(30):
                file.write(bytes(10**7))
    return "claims 300 MB"


def claims_units(path):
    """A layer of a billion units, of which no weight is in the file."""
    body().save(path)
    edit = edit_hdf5 if path.suffix == ".h5" else lambda path, change: edit_keras(path, change, "3.15.1")
    edit(path, lambda config: config["config"]["layers"][-1]["config"].update(units=10**9))
    return "and the file holds"


def claims_pixels(path):
    """A padding of 100,000 pixels on each side."""
    body(layers.ZeroPadding2D(1), layers.GlobalAveragePooling2D()).save(path)
    edit_hdf5(path, lambda config: config["config"]["layers"][1]["config"].update(padding=[[10**5, 10**5], [10**5, 10**5]]))
    return "no memory holds"


def links_outside(kind):
    def write(path):
        body().save(path)
        with h5py.File(path, "r+") as file:
            weights = file["model_weights"]
            place = next(name for name in walk(weights) if name.endswith("kernel"))
            shape, dtype = weights[place].shape, weights[place].dtype
            del weights[place]
            if kind == "external link":
                weights[place] = h5py.ExternalLink("/etc/other.h5", "/x")
            elif kind == "soft link":
                weights[place] = h5py.SoftLink("/model_weights")
            elif kind == "external data":
                weights.create_dataset(place, shape, dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
            else:
                layout = h5py.VirtualLayout(shape, dtype)
                layout[:] = h5py.VirtualSource("/etc/other.h5", "x", shape)
                weights.create_virtual_dataset(place, layout)
        return "is a link" if "link" in kind else "lies in another file"

    return write


HOSTILE = {
    "weights.h5": claims_weights,
    "bomb.keras": claims_zip,
    "units.h5": claims_units,
    "units.keras": claims_units,
    "pixels.h5": claims_pixels,
    **{f"{kind.replace(' ', '_')}.h5": links_outside(kind) for kind in ("external link", "soft link", "external data", "virtual data")},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_by_what_it_claims(name, tmp_path):
    word = HOSTILE[name](tmp_path / name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert word in refusal(tmp_path / name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


@pytest.mark.parametrize("missing", ["config", "class_name"])
def test_a_configuration_that_lacks_a_part_is_left_to_keras(missing):
    layer = {"class_name": "Dense", "config": {"units": 2, "batch_input_shape": [None, 3]}}
    del layer[missing]
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [layer, {"class_name": "Flatten"}]}}
    assert repaired(config) == config
